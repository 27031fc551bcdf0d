// @ts-check
// A run to take along: fetched as it is written, so that whoever waits sees how far it is and can break it off.
import { h } from './dom.js';
import { toast } from './shell.js';

const SAY_EVERY_MS = 300;
const NEWLINE = 10;

/** @param {string} address  of lines, answered with how many there are */
export async function save(address) {
  const stopping = new AbortController();
  const bar = /** @type {HTMLProgressElement} */ (h('progress', { 'aria-label': 'Lines exported' }));
  const words = h('p', { role: 'status' }, 'The run is being read…');
  const button = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { 'aria-label': 'Export of this run' },
    h('b', {}, 'Export of this run'), h('p', {}, bar), words, h('p', {}, button)));
  dialog.addEventListener('close', () => {
    stopping.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  try {
    const answer = await fetch(address, { signal: stopping.signal });
    if (!answer.ok || !answer.body) throw new Error(`HTTP ${answer.status}`);
    bar.max = Number(answer.headers.get('X-Lines'));
    const file = await new Response(answer.body.pipeThrough(counting(bar, words))).blob(); // the browser may hold it on disk
    keep(file, decodeURIComponent(new URL(address).pathname.split('/').at(-1) ?? ''));
    toast(`Exported, ${size(file.size)}`);
    dialog.close();
  } catch (error) {
    if (stopping.signal.aborted) return toast('The export was cancelled');
    words.textContent = `It broke off: ${/** @type {Error} */ (error).message}. Nothing of it is kept.`;
    button.textContent = 'Close';
  }
}

/** Lets all through, and says how much that was. @param {HTMLProgressElement} bar @param {HTMLElement} words */
function counting(bar, words) {
  let lines = 0;
  let bytes = 0;
  let saidAt = 0;
  return new TransformStream({
    transform(/** @type {Uint8Array} */ piece, out) {
      out.enqueue(piece);
      bytes += piece.length;
      for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, at + 1)) lines += 1;
      if (Date.now() - saidAt < SAY_EVERY_MS) return;
      saidAt = Date.now();
      bar.value = lines;
      words.textContent = `${lines.toLocaleString('en')} of ${bar.max.toLocaleString('en')} lines, ${size(bytes)}`;
    },
  });
}

/** @param {Blob} file @param {string} name */
function keep(file, name) {
  const link = /** @type {HTMLAnchorElement} */ (h('a', { download: name }));
  link.href = URL.createObjectURL(file);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
