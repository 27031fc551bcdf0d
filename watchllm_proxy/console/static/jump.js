// @ts-check
// Ctrl+K: to a page by a few letters of its name, or to a run by its id, its agent or its title.
import { runPath } from './addresses.js';
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
  ['Flags', '/settings/flags'],
  ['Plans', '/pricing'],
  ['Connect an agent', '/welcome'],
];

const FOUND_RUNS = 6;
const QUIET_MS = 120;

/** Runs by the beginning of their id first, then others; their agents after them. @param {string} words @returns {Promise<string[][]>} */
async function runsLike(words) {
  const answer = await fetch(`/api/agent-runs?kind=all&limit=${FOUND_RUNS}&q=${encodeURIComponent(words)}`);
  if (!answer.ok) return []; // the list is still there to go to, and says what is wrong
  const { runs } = await answer.json();
  const isMeant = (/** @type {any} */ run) => run.run_id.startsWith(words);
  const ordered = [...runs.filter(isMeant), ...runs.filter((/** @type {any} */ run) => !isMeant(run))];
  const names = runs.map((/** @type {any} */ run) => run.agent_name ?? '');
  const agents = new Set(names.filter((/** @type {string} */ name) => name.toLowerCase().includes(words.toLowerCase())));
  return [
    ...ordered.map((run) => [[run.agent_name, run.title, run.run_id].filter(Boolean).join(' · '), runPath(run.run_id)]),
    ...[...agents].map((name) => [`Runs of ${name}`, `/runs?agent=${encodeURIComponent(name)}`]),
  ];
}

/** Where the words lead, the likeliest first. @param {string} words @param {string[][]} runs @returns {string[][]} */
function found(words, runs) {
  const places = PLACES.filter(([name]) => name.toLowerCase().includes(words.toLowerCase()));
  if (!words) return places;
  return [...places, ...runs, [`Runs with “${words}”`, `/runs?kind=all&q=${encodeURIComponent(words)}`]];
}

export function jump() {
  const input = /** @type {HTMLInputElement} */ (
    h('input', { type: 'text', 'aria-label': 'Jump to a page, a run or an agent', placeholder: 'Run id, agent, page…', maxlength: 200 })
  );
  const list = h('ul', { 'aria-label': 'Places' });
  let asked = /** @type {Promise<unknown>} */ (Promise.resolve());
  const show = (/** @type {string[][]} */ runs) => {
    const links = found(input.value.trim(), runs).map(([name, path]) => h('li', {}, h('a', { href: path }, name)));
    list.replaceChildren(...links);
  };
  const ask = async () => {
    const words = input.value.trim();
    show([]);
    await new Promise((then) => setTimeout(then, QUIET_MS));
    if (!words || words !== input.value.trim()) return;
    const runs = await runsLike(words);
    if (words === input.value.trim()) show(runs);
  };
  const go = async (/** @type {Event} */ event) => {
    event.preventDefault();
    await asked; // who types an id and Enter at once means the run
    list.querySelector('a')?.click();
  };
  input.addEventListener('input', () => (asked = ask().catch(() => undefined)));
  const form = h('form', { onsubmit: go }, input);
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { class: 'jump', 'aria-label': 'Jump to' }, form, list));
  dialog.addEventListener('close', () => dialog.remove());
  show([]);
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
}
