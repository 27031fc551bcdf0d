// @ts-check
// Which steps are shown: those of some kinds, and those with a text, which the server looks for in bodies as well.
import { byId, h } from './dom.js';
/** @import { Timeline } from './timeline.js' */

const WAIT_MS = 120;
const CHOICES = [['model', 'Model'], ['tools', 'Tools'], ['errors', 'Errors'], ['anomalies', 'Anomalies'], ['dearest', 'Top cost']];
export const MODEL_SHAPES = new Set(['model', 'answer', 'error']);
const TOOL_SHAPES = new Set(['tool', 'result']);

export class Finder {
  /** @param {Timeline} timeline @param {() => void} onChange  when other steps are shown than before */
  constructor(timeline, onChange) {
    this.timeline = timeline;
    this.onChange = onChange;
    this.input = /** @type {HTMLInputElement} */ (byId('q'));
    this.path = byId('main').dataset.search ?? '';
    this.nothing = h('p', { class: 'muted pad1', hidden: true });
    timeline.grid.append(this.nothing);
    this.hits = /** @type {Set<number> | null} */ (null); // indexes of steps, as the server found them
    this.note = '';
    this.timer = 0;
    this.asking = new AbortController();
    const asked = new URLSearchParams(location.search);
    this.input.value = this.wanted = (asked.get('q') ?? '').slice(0, this.input.maxLength);
    this.only = new Set((asked.get('only') ?? '').split(',').filter((name) => CHOICES.some(([known]) => known === name)));
    this.answered = Promise.resolve();
    this.input.addEventListener('input', () => this.look(this.input.value.trim()));
  }

  /** What the address asks for; done once bodies are looked through. */
  start() {
    this.drawChoices();
    if (this.isActive) this.look(this.wanted);
    return this.answered;
  }

  get isActive() {
    return this.wanted !== '' || this.only.size > 0;
  }

  /** Of each choice, whether a step is among it. @param {string} name @returns {(step: number) => boolean} */
  test(name) {
    const { data, failed } = this.timeline;
    const dearest = new Set(data.dearest);
    return /** @type {Record<string, (step: number) => boolean>} */ ({
      model: (step) => MODEL_SHAPES.has(data.shape[step]),
      tools: (step) => TOOL_SHAPES.has(data.shape[step]),
      errors: (step) => failed.has(step),
      anomalies: (step) => data.tags[step] !== undefined,
      dearest: (step) => dearest.has(step),
    })[name];
  }

  drawChoices() {
    const steps = [...Array(this.timeline.length).keys()];
    byId('only').replaceChildren(...CHOICES.map(([name, label]) => {
      const count = name === 'dearest' ? null : steps.filter(this.test(name)).length;
      return h('button', { type: 'button', class: `chip chip-${name}`, 'aria-pressed': String(this.only.has(name)), onclick: () => this.toggle(name) },
        label, count === null ? null : [' ', h('b', {}, count.toLocaleString('en'))]);
    }));
  }

  /** @param {string} name */
  toggle(name) {
    if (!this.only.delete(name)) this.only.add(name);
    this.drawChoices();
    this.apply();
    /** @type {HTMLElement | null} */ (byId('only').querySelector(`.chip-${name}`))?.focus();
  }

  /** What is found at once is shown at once; bodies are looked through as soon as nobody types. @param {string} wanted */
  look(wanted) {
    this.wanted = wanted;
    this.hits = null;
    this.note = '';
    clearTimeout(this.timer);
    this.asking.abort();
    this.apply();
    if (wanted) this.answered = new Promise((done) => { this.timer = setTimeout(() => this.ask().finally(() => done()), WAIT_MS); });
  }

  async ask() {
    this.asking = new AbortController();
    try {
      const answer = await fetch(`${this.path}?q=${encodeURIComponent(this.wanted)}`, { signal: this.asking.signal });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error?.message ?? `HTTP ${answer.status}`);
      this.hits = new Set(found.steps);
      this.note = found.note ?? '';
    } catch (error) {
      if (this.asking.signal.aborted) return;
      this.note = `Requests and answers were not looked through: ${/** @type {Error} */ (error).message}`;
    }
    this.apply();
  }

  /** The run went on. */
  grow() {
    this.drawChoices();
    if (this.wanted) this.ask();
  }

  clear() {
    this.only.clear();
    this.input.value = '';
    this.drawChoices();
    this.look('');
  }

  apply() {
    const kinds = ['model', 'tools'].filter((name) => this.only.has(name)).map((name) => this.test(name));
    const rest = ['errors', 'anomalies', 'dearest'].filter((name) => this.only.has(name)).map((name) => this.test(name));
    const wanted = this.wanted.toLowerCase();
    const { data } = this.timeline;
    const isShown = (/** @type {number} */ step) => (kinds.length === 0 || kinds.some((test) => test(step)))
      && rest.every((test) => test(step))
      && (wanted === '' || this.hits?.has(data.index[step]) || this.timeline.textOf(step).includes(wanted));
    this.timeline.narrow(this.isActive ? isShown : null);
    this.sayNothing();
    this.writeAddress();
    this.onChange();
  }

  /** Where nothing is found: what was looked for, in words, and the way out. */
  sayNothing() {
    this.nothing.hidden = this.timeline.shown.length > 0 || this.timeline.length === 0;
    if (this.nothing.hidden) return;
    const among = CHOICES.filter(([name]) => this.only.has(name)).map(([, label]) => label.toLowerCase());
    this.nothing.replaceChildren(
      `No step${this.wanted && ` with “${this.wanted}”`}${among.length ? ` among ${among.join(', ')}` : ''}. `,
      h('button', { type: 'button', onclick: () => this.clear() }, 'Clear filters'));
  }

  writeAddress() {
    const address = new URL(location.href);
    for (const [name, value] of [['q', this.wanted], ['only', [...this.only].join(',')]]) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    history.replaceState(history.state, '', address);
  }

  /** The hit to go to, once bodies are looked through: the selected step, or the next one, or the first of all. */
  async firstHit() {
    await this.answered;
    const { shown, selected } = this.timeline;
    return shown.find((step) => step >= selected) ?? shown[0];
  }

  /** The next hit in a direction, and round again. @param {1 | -1} direction */
  nextHit(direction) {
    const { shown, selected } = this.timeline;
    const after = direction > 0 ? shown.find((step) => step > selected) : shown.findLast((step) => step < selected);
    return after ?? shown.at(direction > 0 ? 0 : -1);
  }
}
