// @ts-check
// Pictures and other files in captured text. The server puts a label in the place of each, `⟨image/png, 3.0 MB, hash⟩`,
// and says beside where it is: it is fetched when somebody wants to see it, and is never text.
import { h } from './dom.js';
/** @import { Kid } from './dom.js' */
/** @typedef {{ address: string, media_type: string, size_bytes: number, is_picture: boolean }} File */

const LABEL = /⟨[^⟨⟩\n]{1,220}, [0-9a-f]{32}⟩/g;
const LONGEST_LABEL = 300;
const known = /** @type {Map<string, File>} */ (new Map());

/** What an answer of the server says of files, for all that is drawn from now on. @param {any} answer */
export function learnFiles(answer) {
  for (const [label, file] of Object.entries(answer?.files ?? {})) known.set(label, file);
  return answer;
}

/** Text with a button for each file in it. A label that nobody explained is text. @param {string} text @returns {Kid[]} */
export function withFiles(text) {
  const pieces = /** @type {Kid[]} */ ([]);
  let start = 0;
  for (const { 0: label, index } of text.includes('⟨') ? text.matchAll(LABEL) : []) {
    const file = known.get(label);
    if (!file) continue;
    pieces.push(text.slice(start, index), fileButton(label, file));
    start = index + label.length;
  }
  return [...pieces, text.slice(start)];
}

/** The button of a text that is one file, or undefined. @param {string} text */
export function fileOf(text) {
  const file = known.get(text);
  return file && fileButton(text, file);
}

/** Where to cut a text that is to have about `at` characters: before a label that would be cut. @param {string} text @param {number} at */
export function cutBeforeFile(text, at) {
  const label = text.lastIndexOf('⟨', at - 1);
  return label > at - LONGEST_LABEL && text.indexOf('⟩', label) >= at ? label : at;
}

/** @param {string} label @param {File} file */
function fileButton(label, file) {
  const words = label.slice(1, label.lastIndexOf(','));
  if (!file.is_picture) return h('a', { class: 'more', href: file.address, download: '' }, `${words} · download`);
  const box = h('span', { class: 'file' });
  const button = h('button', { class: 'more', type: 'button', 'aria-expanded': 'false', onclick: () => {
    const isOpen = button.getAttribute('aria-expanded') === 'true';
    button.setAttribute('aria-expanded', String(!isOpen));
    if (isOpen) box.querySelector('.thumb')?.remove();
    else box.append(thumbnail(file.address, words));
  } }, words);
  box.append(button);
  return box;
}

/** @param {string} address @param {string} words */
function thumbnail(address, words) {
  const picture = h('img', { src: address, alt: words });
  const frame = h('button', { class: 'thumb', type: 'button', 'aria-label': `Enlarge ${words}`, onclick: () => enlarge(address, words) }, picture);
  picture.addEventListener('error', () => frame.replaceWith(h('span', { class: 'thumb muted' }, ' This picture cannot be shown: ',
    h('a', { href: address, download: '' }, 'save it'), '.')));
  return frame;
}

/** Over the page, as large as it fits. @param {string} address @param {string} words */
function enlarge(address, words) {
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { class: 'picture', 'aria-label': words }, h('img', { src: address, alt: words })));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
