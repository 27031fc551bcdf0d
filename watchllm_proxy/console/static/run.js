// @ts-check
// The run page: timeline, overview and detail tied together by the selected step, which lives in the address.
import { byId, h } from './dom.js';
import { Detail, tabNamed } from './detail.js';
import { Finder, MODEL_SHAPES } from './finding.js';
import { Fold } from './fold.js';
import { follow } from './live.js';
import { save } from './saving.js';
import { copy, toast } from './shell.js';
import { Timeline } from './timeline.js';

const path = byId('main').dataset.path ?? '';
const KEYS = [
  ['j / ↓', 'next step'], ['k / ↑', 'previous step'], ['J / K', 'next / previous model call'], ['e / E', 'next / previous error'],
  ['a / A', 'next / previous anomaly'], ['h', 'the step that asked for this one, or the run that this one is part of'], ['g g / G', 'first / last step'],
  ['d', 'what differs from the request before'], ['[ / ]', 'previous / next tab'], ['c / p', 'copy as curl / Python'], ['y', 'copy the link to this step'],
  ['x', 'idle time cut out, or shown'], ['z', 'bars over the rows in view, or over the whole run'],
  ['/', 'search; Enter goes to what is found'], ['n / N', 'next / previous of what is found'],
  ['t', 'light or dark'], ['Ctrl K', 'jump to a page, a run or an agent'], ['Enter', 'the step, where the screen has no room beside the list'],
  ['Esc', 'out of the search, all steps again, out of a sub-agent, then back to the list'], ['?', 'this list'],
];

const sheet = byId('main'); // on a narrow screen the detail is a sheet over the list
const isNarrow = matchMedia('(max-width: 1100px)');
const detail = new Detail(byId('detail'), path, () => writeAddress(), () => openSheet(false));
const timeline = new Timeline(await fetchColumns(), byId('main').dataset.folded !== undefined, pick, () => finder.clear());
const overview = overviewMarks();
const finder = new Finder(timeline, report);
drawScale();
await finder.start();

async function fetchColumns() {
  const answer = await fetch(`${path}/steps`);
  if (!answer.ok) throw new Error(`the steps cannot be read: HTTP ${answer.status}`);
  const { index_gaps: indexes, start_gaps_us: starts, ...columns } = await answer.json();
  return { ...columns, index: sums(indexes), start_us: sums(starts) };
}

/** @param {number[]} gaps  what each number is more than the one before */
function sums(gaps) {
  let sum = 0;
  return gaps.map((gap) => (sum += gap));
}

/** @param {number | undefined} step @param {{center?: boolean}} [options] */
function select(step, { center = false } = {}) {
  if (step === undefined || !(step >= 0 && step < timeline.length)) return toast('No more');
  timeline.select(step, center);
  writeAddress();
  overview.update();
  report();
  return detail.show(timeline.data.index[step]);
}

/** @param {number} step */
function pick(step) {
  select(step);
  openSheet(true);
}

function openSheet(isOpen = true) {
  sheet.toggleAttribute('data-sheet', isOpen);
  if (!isOpen) timeline.grid.focus();
}

function writeAddress() {
  const step = timeline.data.index[timeline.selected];
  history.replaceState({ step }, '', `#step-${step}${detail.tabInAddress}`);
}

function report() {
  const all = timeline.length.toLocaleString('en');
  const isFiltered = timeline.shown.length !== timeline.length;
  const count = isFiltered ? `${timeline.shown.length.toLocaleString('en')} of ${all} steps` : '';
  byId('found').textContent = [count, finder.note].filter(Boolean).join(' · ');
  byId('position').textContent = timeline.selected < 0 ? '' : `step ${timeline.data.index[timeline.selected]} · ${all} in all`;
}

/** The window of rows in view and the selected step, drawn over the overview. */
function overviewMarks() {
  const box = byId('overview');
  const view = h('i', { class: 'mwin' });
  const cursor = h('i', { class: 'mcur' });
  box.append(view, cursor);
  // As it was drawn: a run that goes on does so at its right edge. Of a sub-agent the run that it is part of is drawn.
  const { offset = '0', span } = box.dataset;
  const fold = new Fold(span === undefined ? timeline.data.cuts : []);
  const drawn = (/** @type {number} */ us) => (timeline.isFolded ? fold.at(us) : us);
  const drawnSpan = span === undefined ? timeline.data.span_us : Number(span);
  const at = (/** @type {number} */ us) => drawn(us + Number(offset));
  const percent = (/** @type {number} */ us) => Math.min(100, 100 * at(us) / drawn(drawnSpan));
  const update = () => {
    const { start_us: start, duration_us: took } = timeline.data;
    const inView = timeline.window();
    if (inView) {
      const [first, last] = inView;
      const left = percent(start[first]);
      view.style.left = `${left}%`;
      view.style.width = `${Math.max(0.3, percent(start[last] + took[last]) - left)}%`;
    }
    if (timeline.selected >= 0) cursor.style.left = `${percent(start[timeline.selected])}%`;
    for (const drawing of /** @type {NodeListOf<SVGElement>} */ (box.querySelectorAll('[data-drawing]'))) {
      drawing.toggleAttribute('hidden', !fold.isEmpty && (drawing.dataset.drawing === 'folded') !== timeline.isFolded);
    }
  };
  box.addEventListener('click', (event) => {
    const { start_us: start, duration_us: took } = timeline.data;
    const there = (event.clientX - box.getBoundingClientRect().left) / box.clientWidth * drawn(drawnSpan);
    const distance = (/** @type {number} */ step) => Math.max(at(start[step]) - there, there - at(start[step] + took[step]), 0);
    const nearest = timeline.shown.reduce((best, step) => (distance(step) < distance(best) ? step : best), timeline.shown[0]);
    select(nearest, { center: true });
  });
  timeline.grid.addEventListener('scroll', () => requestAnimationFrame(update), { passive: true });
  return { update };
}

/** What the bars are drawn over, as buttons that say how it is. */
function drawScale() {
  const button = (/** @type {string} */ label, /** @type {boolean} */ isOn, /** @type {() => void} */ onclick) =>
    h('button', { type: 'button', class: 'chip', 'aria-pressed': String(isOn), onclick }, label);
  byId('scale').replaceChildren(...[
    timeline.fold.isEmpty ? null : button('Fold gaps', timeline.isFolded, toggleFold),
    button('Zoom', timeline.isZoomed, toggleZoom),
  ].filter((each) => each !== null));
}

function toggleFold() {
  if (timeline.fold.isEmpty) return toast('There is no idle time to cut out');
  toast(timeline.toggleFold() ? 'Idle time is cut out' : 'Idle time is shown');
  drawScale();
  overview.update();
}

function toggleZoom() {
  toast(timeline.toggleZoom() ? 'Bars over the rows in view' : 'Bars over the whole run');
  drawScale();
}

function help() {
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { 'aria-label': 'Keys' }, h('b', {}, 'Keys'),
    h('dl', {}, KEYS.map(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)]))));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

/** Out of the sheet, then of the search, then of a sub-agent's steps, then to the list of runs. */
function back() {
  if (isNarrow.matches && sheet.dataset.sheet !== undefined) return openSheet(false);
  return finder.isActive ? finder.clear() : location.assign(sheet.dataset.whole ?? '/runs');
}

/** @param {1 | -1} direction */
const toHit = (direction) => (finder.isActive ? select(finder.nextHit(direction)) : toast('Search first: /'));

let lastG = 0;
function first() {
  const isSecond = Date.now() - lastG < 600;
  lastG = Date.now();
  if (isSecond) select(timeline.shown[0]);
}

/** To the step that asked for the selected one; from any other to the run that this one is part of. */
async function toParent() {
  const { related } = await detail.fetchStep(timeline.data.index[timeline.selected]);
  const asked = related.find((/** @type {any} */ each) => each.label === 'asked by');
  if (asked) return select(timeline.placeOf.get(asked.steps[0]));
  const { parent } = byId('main').dataset;
  if (parent) location.assign(parent);
  else toast('Nothing asked for this step');
}

const isModel = (/** @type {number} */ step) => MODEL_SHAPES.has(timeline.data.shape[step]);
const isFailed = (/** @type {number} */ step) => timeline.failed.has(step);
const isTagged = (/** @type {number} */ step) => timeline.data.tags[step] !== undefined;
const ACTIONS = /** @type {Record<string, () => unknown>} */ ({
  j: () => select(timeline.beside(1)),
  ArrowDown: () => select(timeline.beside(1)),
  k: () => select(timeline.beside(-1)),
  ArrowUp: () => select(timeline.beside(-1)),
  PageDown: () => select(timeline.beside(15)),
  PageUp: () => select(timeline.beside(-15)),
  J: () => select(timeline.next(isModel, 1)),
  K: () => select(timeline.next(isModel, -1)),
  h: toParent,
  d: () => detail.toggleTab('diff'),
  c: () => detail.copyAs('curl'),
  p: () => detail.copyAs('python'),
  x: toggleFold,
  z: toggleZoom,
  n: () => toHit(1),
  N: () => toHit(-1),
  e: () => select(timeline.next(isFailed, 1)),
  E: () => select(timeline.next(isFailed, -1)),
  a: () => select(timeline.next(isTagged, 1)),
  A: () => select(timeline.next(isTagged, -1)),
  g: first,
  Home: () => select(timeline.shown[0]),
  G: () => select(timeline.shown.at(-1)),
  End: () => select(timeline.shown.at(-1)),
  '[': () => detail.turnTab(-1),
  ']': () => detail.turnTab(1),
  y: () => copy(location.href, 'Link copied'),
  '?': help,
  Enter: () => openSheet(),
  Escape: back,
});

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target === finder.input) {
    if (event.key === 'Escape' || event.key === 'Enter') timeline.grid.focus();
    if (event.key === 'Enter') finder.firstHit().then((step) => (step === undefined ? toast('Nothing found') : select(step)));
    return;
  }
  if (target.matches('input, textarea, select')) return;
  if (target.matches('button, a, summary') && (event.key === 'Enter' || event.key === ' ')) return;
  const action = ACTIONS[event.key];
  if (action && timeline.length) {
    event.preventDefault();
    action();
  }
});

document.addEventListener('click', (event) => {
  const target = /** @type {Element} */ (event.target);
  if (target.closest('[data-act=link]')) copy(location.href, 'Link copied');
  const whole = /** @type {HTMLAnchorElement | null} */ (target.closest('[data-act=export]'));
  if (whole) {
    event.preventDefault();
    save(whole.href);
  }
});

/** The step that the address names, or undefined. The tab that it names is the one to open. */
function addressed() {
  const match = /^#step-(\d+)(?:\/([a-z]+))?$/.exec(location.hash);
  const step = match ? timeline.placeOf.get(Number(match[1])) : undefined;
  if (match && step !== undefined) detail.tab = tabNamed(match[2] ?? '');
  return step;
}

// A link to a step keeps the tab that is open; the back button brings back step and tab as they were.
addEventListener('hashchange', () => {
  const { tab } = detail;
  const isLink = history.state === null && !location.hash.includes('/');
  const step = addressed();
  if (isLink) detail.tab = tab;
  if (step !== undefined) select(step, { center: true });
  if (step !== undefined) openSheet();
});

// A run opened without a step starts at its first error.
if (timeline.length) {
  const asked = addressed();
  openSheet(asked !== undefined);
  select(asked ?? (finder.isActive ? timeline.shown[0] : undefined) ?? timeline.data.failed[0] ?? 0, { center: true });
  timeline.grid.focus({ preventScroll: true });
}
follow({
  fetchColumns,
  grow: (data) => {
    const wasAtEnd = timeline.isAtEnd;
    const before = timeline.length;
    timeline.grow(data);
    finder.grow();
    drawScale();
    detail.refresh();
    overview.update();
    report();
    if (wasAtEnd) toEnd();
    return wasAtEnd ? 0 : timeline.length - before;
  },
  toEnd,
  tick: () => timeline.tick(),
});

function toEnd() {
  timeline.grid.scrollTop = timeline.grid.scrollHeight;
}

document.documentElement.dataset.ready = 'true';
