// @ts-check
// A message of a conversation as a card, and cards in general.
import { h } from './dom.js';
import { copy } from './shell.js';
import { jsonTree, pretty } from './render.js';
/** @import { Kid } from './dom.js' */

/** @param {Kid | Kid[]} title @param {Kid | Kid[]} body @param {{cls?: string, text?: string}} [options] */
export function card(title, body, { cls = '', text } = {}) {
  const button = text === undefined ? null
    : h('button', { type: 'button', onclick: () => copy(text, 'Copied') }, 'Copy');
  return h('section', { class: `card ${cls}` },
    h('h3', {}, title, button && h('span', { class: 'grow' }), button), h('div', { class: 'in' }, body));
}

/** A message of a conversation: its text, the tools it asks for, then whatever else it holds. @param {any} each */
export function message(each) {
  if (!each || typeof each !== 'object') return card('message', jsonTree(each));
  const { role, content, tool_calls: asked, ...rest } = each;
  const text = typeof content === 'string' ? pretty(content) : content === undefined || content === null ? null : jsonTree(content);
  const calls = Array.isArray(asked) ? asked.map(toolCall) : asked === undefined ? [] : [jsonTree({ tool_calls: asked })];
  return card(String(role ?? 'message'), [text, ...calls, Object.keys(rest).length ? jsonTree(rest) : null], { cls: 'msg' });
}

/** @param {any} call */
function toolCall(call) {
  if (typeof call?.function?.name !== 'string') return jsonTree(call);
  const { name, arguments: given } = call.function;
  return h('div', {}, h('b', {}, `→ ${name}`), typeof given === 'string' ? pretty(given) : jsonTree(given));
}
