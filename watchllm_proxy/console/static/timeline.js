// @ts-check
// The list of steps: only the rows in view are in the page, whatever the length of the run.
import { byId, h, svg } from './dom.js';
import { Fold } from './fold.js';

const ROW_HEIGHT = 28;
const SPARE_ROWS = 6;
const SHAPES = /** @type {Record<string, [string, Record<string, any>]>} */ ({
  user: ['circle', { cx: 6, cy: 6, r: 4.2 }],
  tool: ['path', { d: 'M6 1 11 6 6 11 1 6z' }],
  error: ['path', { d: 'M2 2l8 8M10 2l-8 8' }],
  retry: ['path', { d: 'M10 6a4 4 0 1 1-1.3-3M9.4.8v2.6H6.8' }],
  model: ['rect', { x: 1.6, y: 1.6, width: 8.8, height: 8.8, rx: 2 }],
});
SHAPES.result = SHAPES.tool;
SHAPES.answer = SHAPES.model;

/** What kind of step it is, for those who listen in words where its name does not say it. @param {string} shape @param {string} name @param {boolean} isFailed */
export function glyph(shape, name, isFailed) {
  const [tag, props] = SHAPES[shape];
  const words = [shape === name ? '' : shape, isFailed ? 'failed' : ''].filter(Boolean).join(', ');
  const heard = words ? { role: 'img', 'aria-label': words } : { 'aria-hidden': 'true' };
  return svg('svg', { class: `g g-${shape}`, viewBox: '0 0 12 12', ...heard }, svg(tag, props));
}

/** @param {number} us */
function duration(us) {
  if (us < 1e6) return `${Math.round(us / 1000)} ms`;
  if (us < 6e7) return `${(us / 1e6).toFixed(2)} s`;
  return `${Math.floor(us / 6e7)}m ${String(Math.floor(us / 1e6) % 60).padStart(2, '0')}s`;
}

/**
 * @typedef {object} Columns  see pages/timeline.py; what comes as gaps is summed up by then
 * @property {number} span_us
 * @property {string[]} names
 * @property {number[]} index
 * @property {string[]} shape
 * @property {number[]} name
 * @property {string[]} preview
 * @property {Record<number, string[]>} tags
 * @property {number[]} failed
 * @property {number[]} start_us
 * @property {number[]} duration_us
 * @property {number[]} first_token_us
 * @property {string[]} took
 * @property {string[]} tokens
 * @property {string[]} cost
 * @property {number[]} dearest
 * @property {number[]} open
 * @property {[number, number][]} cuts
 */

/** One row element, reused for whatever step scrolls into view. */
class RowView {
  constructor() {
    this.place = -1; // its place in the list as filtered
    this.step = -1; // the step it shows, by place in the run
    this.number = h('span', { class: 'c-n', role: 'gridcell' });
    this.glyph = h('span', { class: 'gl-box' });
    this.title = h('b');
    this.preview = h('span', { class: 'pv' });
    this.tags = h('span', { class: 'tags' });
    this.bar = h('i', { class: 'bar' });
    this.firstToken = h('i', { class: 'ttft' });
    this.took = h('span', { class: 'c-d', role: 'gridcell' });
    this.tokens = h('span', { class: 'c-t', role: 'gridcell' });
    this.cost = h('span', { class: 'c-c', role: 'gridcell' });
    this.element = h('div', { class: 'row', role: 'row' }, this.number,
      h('span', { class: 'c-nm', role: 'gridcell' }, this.glyph, this.title, this.preview, this.tags),
      h('span', { class: 'c-ln', role: 'presentation' }, this.bar, this.firstToken),
      this.took, this.tokens, this.cost);
  }

  /** @param {Columns} data @param {number} step @param {boolean} isFailed */
  show(data, step, isFailed) {
    if (this.step === step) return;
    this.step = step;
    this.element.id = `step-${data.index[step]}`;
    this.element.dataset.shape = data.shape[step];
    this.element.toggleAttribute('data-failed', isFailed);
    this.element.toggleAttribute('data-open', data.open.includes(step));
    this.number.textContent = String(data.index[step]);
    this.glyph.replaceChildren(glyph(data.shape[step], data.names[data.name[step]], isFailed));
    this.title.textContent = data.names[data.name[step]];
    this.preview.textContent = data.preview[step];
    this.tags.replaceChildren(...(data.tags[step] ?? []).map((tag) => h('em', {}, tag)));
    this.took.textContent = data.took[step];
    this.tokens.textContent = data.tokens[step];
    this.cost.textContent = data.cost[step];
  }

  /** @param {Timeline} timeline */
  drawBar({ data, start, end, scale: [from, to] }) {
    const percent = (/** @type {number} */ us) => Math.min(102, Math.max(-2, 100 * (us - from) / (to - from)));
    const left = percent(start[this.step]);
    this.bar.style.left = this.firstToken.style.left = `${left}%`;
    this.bar.style.width = `${Math.max(0.6, percent(end[this.step]) - left)}%`;
    const first = data.first_token_us[this.step];
    this.firstToken.style.width = `${first ? percent(start[this.step] + first) - left : 0}%`;
  }
}

export class Timeline {
  /** @param {Columns} data @param {boolean} isFolded @param {(step: number) => void} onPick @param {() => void} onHidden  when a step is wanted that is not shown */
  constructor(data, isFolded, onPick, onHidden) {
    this.isFolded = isFolded;
    this.onHidden = onHidden;
    this.startedAt = Number(byId('main').dataset.started);
    this.know(data);
    /** @type {((step: number) => boolean) | null} */
    this.test = null;
    this.shown = [...Array(this.length).keys()];
    this.selected = -1;
    /** @type {[number, number]} */
    this.scale = [0, data.span_us];
    this.grid = byId('grid');
    this.pad = byId('pad');
    this.rows = /** @type {RowView[]} */ ([]);
    this.isQueued = false;
    this.isZoomed = true;
    this.look();
    this.marks = [0, 50].map((x) => {
      const mark = h('span');
      mark.style.left = `${x}%`;
      return mark;
    });
    byId('axis').append(...this.marks);
    this.pad.replaceChildren();
    this.pad.classList.add('virtual');
    this.grid.addEventListener('scroll', () => requestAnimationFrame(() => this.follow()), { passive: true });
    this.pad.addEventListener('click', (event) => {
      const row = this.rows.find((each) => each.element.contains(/** @type {Node} */ (event.target)));
      if (row) onPick(row.step);
    });
    new ResizeObserver(() => this.queue()).observe(this.grid);
    this.narrow(null);
  }

  /** @param {Columns} data */
  know(data) {
    this.data = data;
    this.length = data.index.length;
    this.failed = new Set(data.failed);
    this.placeOf = new Map(data.index.map((index, step) => [index, step]));
    this.fold = new Fold(data.cuts);
    this.arrange();
  }

  /** Where each step stands in the time that is shown. */
  arrange() {
    const { start_us: start, duration_us: took, span_us: span } = this.data;
    const at = this.isFolded ? (/** @type {number} */ us) => this.fold.at(us) : (/** @type {number} */ us) => us;
    this.start = start.map(at);
    this.end = this.start.map((us, step) => us + took[step]);
    this.span = at(span);
  }

  /** What part of the list is in view, in pixels. Read once a frame, before anything is written: later it would have the browser lay out the page at once. */
  look() {
    this.top = this.grid.scrollTop;
    this.height = this.grid.clientHeight;
  }

  /** Paints what came into view, unless it is what was painted: a step that was selected is, before it scrolls. */
  follow() {
    const { top, height } = this;
    this.look();
    if (this.top !== top || this.height !== height) this.paint();
  }

  /** @param {number} top  in pixels */
  scrollTo(top) {
    this.top = Math.max(0, Math.min(top, this.shown.length * ROW_HEIGHT - this.height));
    this.grid.scrollTop = this.top;
  }

  /** Whether the last row is in view. */
  get isAtEnd() {
    return this.grid.scrollTop + this.grid.clientHeight > (this.shown.length - 1) * ROW_HEIGHT;
  }

  /** The same run, further on: what is in view and what is selected stays. @param {Columns} data */
  grow(data) {
    const selected = this.data.index[this.selected];
    const { scrollTop } = this.grid;
    this.know(data);
    this.grid.querySelector('p')?.remove(); // "no steps yet"
    this.rows.forEach((row) => { row.step = -1; });
    this.narrow(this.test);
    this.selected = this.placeOf.get(selected) ?? this.selected;
    this.scrollTo(scrollTop);
  }

  /** Shows only the steps that pass; the selected one stays in view. @param {((step: number) => boolean) | null} test */
  narrow(test) {
    this.test = test;
    this.look();
    const all = [...Array(this.length).keys()];
    this.shown = test ? all.filter(test) : all;
    this.rows.forEach((row) => { row.place = -1; });
    this.pad.style.height = `${this.shown.length * ROW_HEIGHT}px`;
    this.grid.setAttribute('aria-rowcount', String(this.shown.length));
    this.scrollTo(this.shown.indexOf(this.selected) * ROW_HEIGHT - this.height / 2.4);
    this.queue();
  }

  /** @param {number} step */
  textOf(step) {
    const { names, name, preview, tags } = this.data;
    return [names[name[step]], preview[step], ...(tags[step] ?? [])].join(' ').toLowerCase();
  }

  /** @param {number} step @param {boolean} [center] */
  select(step, center = false) {
    if (!this.shown.includes(step)) this.onHidden();
    this.selected = step;
    this.look();
    const { top: seen, height } = this;
    const top = this.shown.indexOf(step) * ROW_HEIGHT;
    const isFar = top < seen - height || top > seen + 2 * height;
    if (center || isFar) this.scrollTo(top - height / 2.4);
    else if (top < seen) this.scrollTo(top);
    else if (top + ROW_HEIGHT > seen + height) this.scrollTo(top + ROW_HEIGHT - height);
    this.paint();
    this.grid.setAttribute('aria-activedescendant', `step-${this.data.index[step]}`);
  }

  /** The step `n` rows on from the selected one, among those shown. @param {number} n */
  beside(n) {
    const at = this.shown.indexOf(this.selected);
    return this.shown[Math.min(this.shown.length - 1, Math.max(0, at + n))];
  }

  /** The next shown step in a direction that passes the test. @param {(step: number) => boolean} test @param {1 | -1} direction */
  next(test, direction) {
    for (let at = this.shown.indexOf(this.selected) + direction; at >= 0 && at < this.shown.length; at += direction) {
      if (test(this.shown[at])) return this.shown[at];
    }
    return undefined;
  }

  queue() {
    if (this.isQueued) return;
    this.isQueued = true;
    requestAnimationFrame(() => {
      this.look();
      this.paint();
    });
  }

  /** Whether bars are scaled to the rows in view from now on. */
  toggleZoom() {
    this.isZoomed = !this.isZoomed;
    this.queue();
    return this.isZoomed;
  }

  /** Steps that are going on: how long they have been. */
  tick() {
    const now = Date.now() * 1000 - this.startedAt;
    for (const row of this.rows) {
      if (row.step >= 0 && this.data.open.includes(row.step)) row.took.textContent = `${duration(Math.max(0, now - this.data.start_us[row.step]))}…`;
    }
  }

  /** Whether idle time is cut out of the bars from now on. */
  toggleFold() {
    this.isFolded = !this.isFolded;
    this.arrange();
    this.queue();
    return this.isFolded;
  }

  /** Bars are scaled to the rows in view, or to the whole run; the overview above keeps that anyway. */
  rescale() {
    const first = Math.floor(this.top / ROW_HEIGHT);
    const inView = this.shown.slice(first, first + Math.ceil(this.height / ROW_HEIGHT));
    const from = Math.min(...inView.map((step) => this.start[step]));
    const to = Math.max(...inView.map((step) => this.end[step]));
    if (!this.isZoomed) this.scale = [0, this.span];
    else if (to > from) this.scale = [from, to + (to - from) * 0.02];
    const [a, b] = this.scale;
    this.marks.forEach((mark, i) => {
      const us = a + (b - a) * i / 2;
      mark.textContent = `+${duration(this.isFolded ? this.fold.unfolded(us) : us)}`;
    });
  }

  paint() {
    this.isQueued = false;
    this.rescale();
    const first = Math.max(0, Math.floor(this.top / ROW_HEIGHT) - SPARE_ROWS);
    const count = Math.ceil(this.height / ROW_HEIGHT) + 2 * SPARE_ROWS;
    const last = Math.min(this.shown.length, first + count);
    while (this.rows.length < last - first) {
      const row = new RowView();
      this.rows.push(row);
    }
    // Rows that stay in view keep their element; the others move to the places that came into view.
    const kept = new Map(this.rows.map((row) => [row.place, row]));
    const free = this.rows.filter((row) => row.place < first || row.place >= last);
    free.forEach((row) => row.element.remove());
    // Read aloud they come in the order of the page, so that has to be theirs.
    let after = /** @type {Element | null} */ (null);
    for (let place = last - 1; place >= first; place--) {
      const row = kept.get(place) ?? /** @type {RowView} */ (free.pop());
      this.fill(row, place);
      if (row.element.parentNode !== this.pad) this.pad.insertBefore(row.element, after);
      after = row.element;
    }
    for (const row of free) row.place = row.step = -1;
  }

  /** @param {RowView} row @param {number} place */
  fill(row, place) {
    const step = this.shown[place];
    row.show(this.data, step, this.failed.has(step));
    row.drawBar(this);
    if (row.place !== place) {
      row.place = place;
      row.element.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
      row.element.setAttribute('aria-rowindex', String(place + 1));
    }
    row.element.setAttribute('aria-selected', String(step === this.selected));
  }

  /** First and last step in view. @returns {[number, number] | null} */
  window() {
    if (!this.shown.length) return null;
    const at = (/** @type {number} */ y) => this.shown[Math.min(this.shown.length - 1, Math.floor(y / ROW_HEIGHT))];
    return [at(this.top), at(this.top + this.height - 1)];
  }
}
