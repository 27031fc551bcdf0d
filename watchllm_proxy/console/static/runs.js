// @ts-check
// The list of runs, live: what is new waits behind a button, so that nothing moves under the reader.
import { byId, h } from './dom.js';
import { poll, silence } from './poll.js';

const POLL_MS = 2000;
const live = byId('live');
/** What the server wrote into the page. @type {Map<string, string>} */
const shown = new Map();
for (const row of document.querySelectorAll('tr[data-run]')) {
  shown.set(row.getAttribute('data-run') ?? '', row.getAttribute('data-status') ?? '');
}
const asked = new URLSearchParams(location.search);
if (!asked.get('limit')) asked.set('limit', live.dataset.limit ?? '50');
const stopped = silence();
let said = /** @type {Node | string} */ ('');

/** @param {Node | string} words @param {boolean} isButton */
function say(words, isButton) {
  if (words === said) return;
  said = words;
  const node = isButton ? h('button', { type: 'button', onclick: () => location.reload() }, words) : words;
  live.replaceChildren(node);
}

/** What differs from the page, in words; "" for nothing. @param {{ run_id: string, status: string }[]} runs */
function difference(runs) {
  const fresh = runs.filter((run) => !shown.has(run.run_id)).length;
  const changed = runs.filter((run) => shown.has(run.run_id) && shown.get(run.run_id) !== run.status).length;
  const more = fresh && fresh === runs.length && shown.size ? '+' : '';
  return [fresh ? `${fresh}${more} new` : '', changed ? `${changed} changed` : ''].filter(Boolean).join(', ');
}

poll(
  `/api/agent-runs?${asked}`,
  POLL_MS,
  ({ runs }) => {
    const words = difference(runs);
    say(words && `${words} · show`, Boolean(words));
  },
  (silentMs) => {
    stopped.last(silentMs);
    say(stopped.notice, false);
  },
);
