// @ts-check
// A message of a conversation as a card, and cards in general.
import { h } from './dom.js';
import { copy, toast } from './shell.js';
import { jsonTree, longText, markdown, pretty, raw } from './render.js';
/** @import { Kid } from './dom.js' */

const VIEWS = ['Raw', 'Pretty', 'Markdown'];
const KEY = 'view of messages: ';
const TEXT_PARTS = new Set(['text', 'input_text', 'output_text']);

/** @param {Kid | Kid[]} title @param {Kid | Kid[]} body @param {{cls?: string, text?: string | (() => Promise<string>), tools?: Kid[]}} [options]  `text`: to copy, or how to get it */
export function card(title, body, { cls = '', text, tools = [] } = {}) {
  const heading = h('h3', {}, title);
  const button = text === undefined ? null
    : h('button', { type: 'button', 'aria-label': `Copy ${heading.textContent}`, onclick: () => copyText(text) }, 'Copy');
  return h('section', { class: `card ${cls}` },
    h('div', { class: 'card-head' }, heading, button || tools.length ? h('span', { class: 'grow' }) : null, tools, button), h('div', { class: 'in' }, body));
}

/** @param {string | (() => Promise<string>)} text */
async function copyText(text) {
  try {
    await copy(typeof text === 'string' ? text : await text(), 'Copied');
  } catch (error) {
    toast(`This cannot be copied: ${/** @type {Error} */ (error).message}`);
  }
}

/** How messages of a role were wanted last; undefined: as suits the message. @param {string} role */
function rememberedView(role) {
  try {
    return VIEWS.find((view) => view === localStorage.getItem(KEY + role));
  } catch {
    return undefined; // a browser that keeps nothing
  }
}

/** @param {string} role @param {string} view */
function rememberView(role, view) {
  try {
    localStorage.setItem(KEY + role, view);
  } catch {
    // then it is not remembered
  }
}

/** A message of a conversation: its text, the tools it asks for, then whatever else it holds. @param {any} each */
export function message(each) {
  if (!each || typeof each !== 'object') return card('message', jsonTree(each));
  const role = String(each.role ?? each.type ?? 'message');
  const body = h('div', { class: 'said' });
  const buttons = VIEWS.map((view) => h('button', { type: 'button', class: 'view', onclick: () => {
    rememberView(role, view);
    show(view);
  } }, view));
  const show = (/** @type {string | undefined} */ view) => {
    body.replaceChildren(...messageBody(each, view));
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(VIEWS[i] === view)));
  };
  show(rememberedView(role));
  const views = h('span', { class: 'views', role: 'group', 'aria-label': `How this message of ${role} is shown` }, buttons);
  return card(role, body, { cls: 'msg', tools: [views] });
}

/** @param {any} each @param {string | undefined} view @returns {Node[]} */
function messageBody(each, view) {
  if (view === 'Raw') return [raw(each)];
  const { role, content, tool_calls: asked, ...rest } = each;
  const calls = Array.isArray(asked) ? asked.map(toolCall) : asked === undefined ? [] : [jsonTree({ tool_calls: asked })];
  return [...contentParts(content, view), ...calls, ...(Object.keys(rest).length ? [jsonTree(rest)] : [])];
}

/** Text as text, also where it comes in parts; all else as it is. @param {any} content @param {string | undefined} view @returns {Node[]} */
function contentParts(content, view) {
  if (content === undefined || content === null) return [];
  if (typeof content === 'string') return [textAs(content, view)];
  if (!Array.isArray(content)) return [jsonTree(content)];
  return content.map((part) => (TEXT_PARTS.has(part?.type) && typeof part.text === 'string' && Object.keys(part).length === 2
    ? textAs(part.text, view) : jsonTree(part)));
}

/** @param {string} text @param {string | undefined} view */
function textAs(text, view) {
  if (view === 'Markdown') return markdown(text);
  return view === 'Pretty' ? pretty(text, (plain) => longText(plain, 'tx')) : pretty(text);
}

/** @param {any} call */
function toolCall(call) {
  if (typeof call?.function?.name !== 'string') return jsonTree(call);
  const { name, arguments: given } = call.function;
  return h('div', {}, h('b', {}, `→ ${name}`), typeof given === 'string' ? pretty(given) : jsonTree(given));
}
