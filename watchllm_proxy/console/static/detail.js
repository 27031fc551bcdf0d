// @ts-check
// The pane beside the timeline: one step, and the request and answer behind it, fetched when asked for.
import { conversationBody, diffBody } from './changes.js';
import { costBody } from './cost.js';
import { formToken, h } from './dom.js';
import { learnFiles } from './files.js';
import { card, message } from './messages.js';
import { copy, toast } from './shell.js';
import { glyph } from './timeline.js';
import { argumentsMarked, jsonTree, longText, namedByError, parseJson, pretty, withStepLinks } from './render.js';

const KEPT_CALLS = 120;
const TABS = ['Step', 'Conversation', 'Diff', 'Request', 'Response', 'Cost'];

/** @param {string} url */
async function getText(url) {
  const answer = await fetch(url);
  const text = await answer.text();
  if (!answer.ok) throw new Error(parseJson(text)?.error?.message ?? `HTTP ${answer.status}`);
  return text;
}

/** Answers by address, the oldest dropped. */
class Kept {
  constructor() {
    this.answers = /** @type {Map<string, Promise<any>>} */ (new Map());
  }

  /** @param {string} url */
  get(url) {
    let answer = this.answers.get(url);
    if (!answer) {
      answer = getText(url).then(parseJson).then(learnFiles);
      answer.catch(() => this.answers.delete(url));
      this.answers.set(url, answer);
      if (this.answers.size > KEPT_CALLS) this.answers.delete(/** @type {string} */ (this.answers.keys().next().value));
    }
    return answer;
  }
}

/** @param {string} text */
const note = (text) => h('p', { class: 'muted' }, text);

/** @param {any} step @param {string} tab */
function labelOf(step, tab) {
  if (tab === 'Cost') return 'Cost & time';
  return tab === TABS[0] && step.type.startsWith('tool_') ? 'Tool' : tab;
}

/** @param {string} name  as in addresses */
export const tabNamed = (name) => TABS.find((each) => each.toLowerCase() === name) ?? TABS[0];

export class Detail {
  /** @param {HTMLElement} pane @param {string} path  where the run's steps are @param {() => void} onTab @param {() => void} onClose  of the sheet that it is on a narrow screen */
  constructor(pane, path, onTab, onClose) {
    this.pane = pane;
    this.onClose = onClose;
    this.path = path;
    this.onTab = onTab;
    this.kept = new Kept();
    this.uncopied = /** @type {Map<string, string>} */ (new Map()); // calls that cannot be sent again, as far as known, and why
    this.tab = TABS[0];
    this.index = -1;
  }

  /** @param {number} index */
  fetchStep(index) {
    return this.kept.get(`${this.path}/steps/${index}`);
  }

  /** @param {number} index */
  async show(index) {
    this.index = index;
    try {
      const step = await this.fetchStep(index);
      if (this.index === index) this.draw(step);
    } catch (error) {
      if (this.index === index) this.pane.replaceChildren(h('p', { class: 'muted pad1' }, `This step cannot be shown: ${/** @type {Error} */ (error).message}`));
    }
  }

  /** What was kept may have changed: a running run's steps get their results later. */
  refresh() {
    this.kept = new Kept();
  }

  /** @param {1 | -1} direction */
  async turnTab(direction) {
    const step = await this.fetchStep(this.index);
    const tabs = this.tabsOf(step);
    this.open(step, tabs[(tabs.indexOf(this.tabOf(step)) + direction + tabs.length) % tabs.length]);
  }

  /** @param {any} step @param {string} tab */
  open(step, tab) {
    this.tab = tab;
    this.draw(step);
    this.onTab();
  }

  /** Opens a tab by its name in addresses, or the first one again where it is open. @param {string} name */
  async toggleTab(name) {
    const step = await this.fetchStep(this.index);
    const tab = tabNamed(name);
    if (!this.tabsOf(step).includes(tab)) return toast('Only a model call has this');
    this.open(step, this.tabOf(step) === tab ? TABS[0] : tab);
  }

  /** The tab as addresses name it; empty for the first one. */
  get tabInAddress() {
    return this.tab === TABS[0] ? '' : `/${this.tab.toLowerCase()}`;
  }

  /** @param {string} language */
  async copyAs(language) {
    const step = await this.fetchStep(this.index);
    if (!step.call_id) return toast('Only a model call can be copied');
    const why = this.uncopied.get(step.call_id);
    if (why) return toast(why);
    try {
      await copy(await getText(`${this.path}/steps/${step.index}/copy/${language}`), `Copied as ${language}, without a key`);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      if (message.includes('cannot be sent again')) this.noteUncopied(step, message);
      toast(message);
    }
  }

  /** A call that cannot be sent again says so on its buttons from now on. @param {any} step @param {string} why */
  noteUncopied(step, why) {
    this.uncopied.set(step.call_id, why);
    if (this.index === step.index) this.pane.querySelector('.copies')?.replaceWith(this.copies(step));
  }

  /** @param {any} step */
  copies(step) {
    const why = this.uncopied.get(step.call_id);
    const languages = step.call_id ? [['curl', 'c'], ['python', 'p']] : [];
    return h('div', { class: 'copies' }, languages.map(([language, key]) => h('button', { type: 'button', title: why ?? `Copy as ${language} (${key})`,
      'aria-label': `Copy as ${language}`, 'aria-disabled': why ? 'true' : null, onclick: () => this.copyAs(language) }, language)),
    h('button', { type: 'button', title: 'Copy the step as JSON', 'aria-label': 'Copy the step as JSON', onclick: () => copy(JSON.stringify(step, null, 2), 'Copied as JSON') }, 'JSON'));
  }

  /** @param {any} step */
  tabsOf(step) {
    return step.call_id ? TABS : TABS.slice(0, 1);
  }

  /** The tab that was open, where this step has it. @param {any} step */
  tabOf(step) {
    return this.tabsOf(step).includes(this.tab) ? this.tab : TABS[0];
  }

  /** @param {any} step */
  draw(step) {
    const tab = this.tabOf(step);
    const body = h('div', { class: 'db', role: 'tabpanel', id: 'part', 'aria-label': labelOf(step, tab) });
    this.pane.scrollTop = 0; // before: after it the page would be laid out at once
    this.pane.replaceChildren(this.head(step, tab), body);
    if (tab === 'Step') body.append(...stepBody(step, this.output(step)));
    else this.drawCall(step, tab, body);
    if (tab === 'Step' && step.split) body.append(this.splitForm(step.split));
  }

  /** What a tool gave: its beginning at once, and all of it as soon as it is here. @param {any} step @returns {Node | null} */
  output(step) {
    const { tool_output: beginning, output_chars: all } = step;
    if (!beginning) return null;
    const title = step.is_failed ? 'output · error' : 'output';
    const first = card(title, pretty(beginning), { text: beginning });
    if (!(all > beginning.length)) return first;
    this.kept.get(`${this.path}/steps/${step.index}/result`).then(({ output, characters }) => {
      if (output === null) throw new Error('they are not stored (any more)');
      const isCut = characters > output.length;
      const note = isCut ? h('p', { class: 'muted' }, `The first 256 k of ${characters.toLocaleString('en')} characters: the rest is in the request that brings it.`) : null;
      first.replaceWith(card(title, [pretty(output), note], { text: output }));
    }).catch((error) => {
      first.querySelector('.in')?.append(h('p', { class: 'muted' }, `This is its beginning; all ${all.toLocaleString('en')} characters cannot be shown: ${error.message}`));
    });
    return first;
  }

  /** This call belongs elsewhere: a plain form, answered with the page of the run it makes. @param {any} split */
  splitForm({ call_id: callId, is_first: isFirst }) {
    return h('form', { class: 'correct', method: 'post', action: `${this.path}/split`, 'aria-label': 'Correct the grouping' },
      h('input', { type: 'hidden', name: 'call_id', value: callId }),
      formToken(),
      h('span', { class: 'muted' }, 'Does not belong here?'),
      isFirst ? null : h('button', { type: 'submit' }, 'Split off from here on'),
      h('button', { type: 'submit', name: 'only', value: 'true' }, 'Split off this call alone'));
  }

  /** @param {any} step @param {string} open */
  head(step, open) {
    const status = step.http_status ? h('span', { class: `http ${step.http_status < 400 ? 'ok' : ''}` }, `HTTP ${step.http_status}`)
      : step.is_failed ? h('span', { class: 'http' }, 'error') : null;
    const tabs = this.tabsOf(step).map((name) => h('button', { type: 'button', role: 'tab', 'aria-selected': String(name === open), 'aria-controls': 'part', onclick: () => this.open(step, name) }, labelOf(step, name)));
    return h('div', { class: 'dh' },
      h('h2', {}, h('span', { class: 'nn' }, `#${step.index}`), glyph(step.shape, step.name, step.is_failed), h('span', { class: 'name' }, step.name), status,
        h('span', { class: 'ver' }, step.type.replace('_', ' ')),
        h('button', { type: 'button', class: 'close', 'aria-label': 'Close the step', onclick: this.onClose }, '✕')),
      h('div', { class: 'facts' }, step.facts.map((/** @type {[string, string]} */ [label, value]) => h('span', {}, `${label} `, h('b', {}, value)))),
      h('div', { class: 'tabbar' }, h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Parts of the step' }, tabs), this.copies(step)));
  }

  /** @param {any} step @param {string} tab @returns {Promise<Node[]>} */
  async callBody(step, tab) {
    if (tab === 'Conversation' || tab === 'Diff') {
      const changes = await this.kept.get(`${this.path}/steps/${step.index}/changes`);
      return tab === 'Diff' ? diffBody(changes) : conversationBody(changes, () => this.open(step, 'Request'));
    }
    const { call } = await this.kept.get(`/api/calls/${step.call_id}?files=apart`);
    const missing = call.is_truncated ? 'its request was not stored whole' : call.request === null ? call.opaque_reason ?? 'it had no body' : '';
    if (missing) this.noteUncopied(step, `This step cannot be sent again: ${missing}.`);
    if (tab === 'Cost') return costBody(step, call);
    return tab === 'Request' ? requestBody(call, () => this.exactly(step)) : responseBody(call);
  }

  /** The request with its files where they stood: much to fetch, so only to copy it. @param {any} step */
  async exactly(step) {
    const { call } = parseJson(await getText(`/api/calls/${step.call_id}`));
    return JSON.stringify(call.request, null, 2);
  }

  /** @param {any} step @param {string} tab @param {HTMLElement} body */
  async drawCall(step, tab, body) {
    body.append(note('Loading…'));
    try {
      const parts = await this.callBody(step, tab);
      if (this.index === step.index) body.replaceChildren(...parts);
    } catch (error) {
      body.replaceChildren(note(`This call cannot be shown: ${/** @type {Error} */ (error).message}`));
    }
  }
}

/** @param {any} step @param {Node | null} output @returns {Node[]} */
function stepBody(step, output) {
  const parts = /** @type {(Node | null)[]} */ ([
    step.error && h('div', { class: 'note badn' }, h('b', {}, step.error.type), h('small', {}, step.error.message)),
    ...step.notes.map((/** @type {any} */ each) => h('div', { class: `note ${each.severity === 'error' ? 'badn' : ''}` }, withStepLinks(each.message))),
    ...step.explanations.map((/** @type {any} */ each) => h('section', { class: 'why' },
      h('h3', {}, 'Why', h('small', {}, `by rule · ${each.rules.join(', ')} · ${each.confidence}`)), h('p', {}, withStepLinks(each.text)))),
    step.decision && card('decision', pretty(step.decision), { text: step.decision }),
    step.tool_args && card('arguments', argumentsMarked(step.tool_args, namedByError(step.tool_output)), { text: step.tool_args }),
    output,
    !step.error && !step.tool_args && !step.tool_output && step.summary && step.summary !== step.decision && card('text', pretty(step.summary), { text: step.summary }),
    links(step),
  ]);
  return parts.filter((part) => part instanceof Node);
}

/** Where to go from here, and why the call counts as part of this run. @param {any} step */
function links(step) {
  const rows = step.related.flatMap((/** @type {any} */ { label, steps }) => [h('span', {}, label),
    h('span', {}, steps.map((/** @type {number} */ n, /** @type {number} */ i) => [i ? ', ' : '', h('a', { href: `#step-${n}` }, `#${n}`)]))]);
  const why = step.why.flatMap((/** @type {any} */ each) => [h('span', {}, each.is_overruled ? 'was thought' : 'why in this run'),
    h('span', {}, each.sentence, each.value ? [': ', h('code', {}, each.value)] : null,
      each.to_step === null ? null : [', ', h('a', { href: `#step-${each.to_step}` }, `#${each.to_step}`)], h('span', { class: 'muted' }, ` · ${each.confidence}`))]);
  return rows.length + why.length ? h('div', { class: 'links' }, rows, why) : null;
}

/** The bytes themselves, which are kept of calls that could not be understood. @param {any} call @param {string} part @returns {Node[]} */
const wire = (call, part) => (call.opaque_reason || call.is_truncated
  ? [h('p', { class: 'same' }, h('a', { href: `/api/calls/${call.call_id}/raw/${part}` }, `The bytes of the ${part}, where they are kept`))] : []);

/** @param {any} call @param {() => Promise<string>} exactly  its text, to copy it @returns {Node[]} */
function requestBody(call, exactly) {
  const facts = h('div', { class: 'facts' }, [`${call.method} ${call.target}`, `${call.request_bytes.toLocaleString('en')} bytes`,
    call.user_agent, call.redaction_note].filter(Boolean).map((text) => h('span', {}, text)));
  if (call.request === null) return [facts, note(call.opaque_reason ?? 'This request had no body.'), ...wire(call, 'request')];
  if (typeof call.request !== 'object') return [facts, card('body', longText(String(call.request), 'tx'))];
  const { messages, ...rest } = call.request;
  const shown = Array.isArray(messages) ? messages.map(message) : [];
  const warning = call.is_truncated ? [h('div', { class: 'note' }, 'The capture limit cut a body of this call: this is not all of it.'), ...wire(call, 'request')] : [];
  return [facts, ...warning, ...shown, card(shown.length ? 'everything else' : 'body', jsonTree(shown.length ? rest : call.request), { text: exactly })];
}

/** @param {any} call @returns {Node[]} */
function responseBody(call) {
  const facts = h('div', { class: 'facts' }, [call.finish_reasons.join(', '), call.response_model, call.provider_name,
    `${call.response_bytes.toLocaleString('en')} bytes`].filter(Boolean).map((text) => h('span', {}, text)));
  const failed = call.error ? [h('div', { class: 'note badn' }, h('b', {}, call.error.type), h('small', {}, call.error.message))] : [];
  const answer = call.answer === null ? [note('No answer was read.'), ...wire(call, 'answer')]
    : [call.answer && typeof call.answer === 'object' && 'role' in call.answer ? message(call.answer) : card('answer', jsonTree(call.answer))];
  return [facts, ...failed, ...answer,
    ...(call.response_metadata && Object.keys(call.response_metadata).length ? [card('what else the answer held', jsonTree(call.response_metadata))] : [])];
}
