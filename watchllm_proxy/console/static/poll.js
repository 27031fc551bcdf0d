// @ts-check
// Asking again and again for little: the answer has an ETag, and is sent anew only when it says something else.
import { h } from './dom.js';

/**
 * Asks until `heard` returns false; not while nobody sees the page. What is the same as before is not heard again.
 * @param {string} address
 * @param {number} everyMs
 * @param {(data: any) => boolean | void} heard
 * @param {(silentMs: number) => void} [lost]
 */
export function poll(address, everyMs, heard, lost) {
  let tag = '';
  let answeredAt = Date.now();

  async function look() {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    if (tag) headers['If-None-Match'] = tag;
    const answer = await fetch(address, { cache: 'no-store', headers });
    if (answer.status !== 304 && !answer.ok) throw new Error(`HTTP ${answer.status}`);
    const goesOn = answer.status === 304 ? true : heard(await answer.json()) !== false;
    tag = answer.headers.get('ETag') ?? tag;
    answeredAt = Date.now();
    return goesOn;
  }

  async function watch() {
    let goesOn = true;
    try {
      if (!document.hidden) goesOn = await look();
    } catch {
      tag = ''; // so that what is said about the trouble is taken back
      lost?.(Date.now() - answeredAt);
    }
    if (goesOn) setTimeout(watch, everyMs);
  }

  watch();
}

/** "Live updates stopped 8 s ago, trying again": read aloud once, for what counts on is for eyes only. */
export function silence() {
  const ago = h('span', { 'aria-hidden': 'true' });
  const notice = h('span', {}, 'Live updates stopped', ago, ', trying again');
  return {
    notice,
    last: (/** @type {number} */ silentMs) => { ago.textContent = ` ${Math.round(silentMs / 1000)} s ago`; },
  };
}
