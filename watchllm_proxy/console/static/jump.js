// @ts-check
// Ctrl+K: to a page by a few letters of its name, or to runs by id, agent or title.
import { h } from './dom.js';

const PLACES = [
  ['Runs', '/runs'],
  ['Errors today', '/runs?errors=any&kind=all&since=24h'],
  ['Running now', '/runs?status=running'],
  ['Sessions', '/sessions'],
  ['Costs by model', '/costs?by=model'],
  ['Costs by agent', '/costs?by=agent'],
  ['Costs by tool', '/costs?by=tool'],
  ['Costs by day', '/costs?by=day'],
  ['Jobs', '/jobs'],
  ['Usage', '/usage'],
  ['Settings', '/settings'],
  ['Projects', '/settings/projects'],
  ['Keys', '/settings/keys'],
  ['Stored data', '/settings/data'],
  ['Redaction', '/settings/redaction'],
  ['Connect an agent', '/welcome'],
];

/** Where the words lead, the likeliest first. @param {string} words @returns {string[][]} */
function found(words) {
  const places = PLACES.filter(([name]) => name.toLowerCase().includes(words.toLowerCase()));
  if (!words) return places;
  return [...places, [`Runs with “${words}”`, `/runs?kind=all&q=${encodeURIComponent(words)}`]];
}

export function jump() {
  const input = /** @type {HTMLInputElement} */ (
    h('input', { type: 'text', 'aria-label': 'Jump to a page, a run or an agent', placeholder: 'Run id, agent, page…', maxlength: 200 })
  );
  const list = h('ul', { 'aria-label': 'Places' });
  const show = () => {
    const links = found(input.value.trim()).map(([name, path]) => h('li', {}, h('a', { href: path }, name)));
    list.replaceChildren(...links);
  };
  const go = (/** @type {Event} */ event) => {
    event.preventDefault();
    list.querySelector('a')?.click();
  };
  input.addEventListener('input', show);
  const form = h('form', { onsubmit: go }, input);
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { class: 'jump', 'aria-label': 'Jump to' }, form, list));
  dialog.addEventListener('close', () => dialog.remove());
  show();
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
}
