// @ts-check
// What is new in a request since the one before it: the tabs Conversation and Diff.
import { h } from './dom.js';
import { withFiles } from './files.js';
import { card, message } from './messages.js';
import { jsonTree } from './render.js';
/** @import { Kid } from './dom.js' */

const MARKS = /** @type {Record<string, string>} */ ({ '-': 'del', '+': 'ins', '=': 'span' });
const STATES = /** @type {Record<string, string>} */ ({ added: 'new', removed: 'gone', changed: 'changed' });

/** @param {string} text */
const note = (text) => h('p', { class: 'muted' }, text);

/** @param {number} index */
const link = (index) => h('a', { href: `#step-${index}` }, `#${index}`);

/** @param {number} count @param {string} what */
const countOf = (count, what) => `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;

/** Only what is new, and the answer. @param {any} changes @param {() => void} showAll @returns {Node[]} */
export function conversationBody(changes, showAll) {
  const parts = changes.note ? [h('div', { class: 'note' }, changes.note)] : [];
  if (changes.fresh !== undefined) {
    if (changes.kept) {
      parts.push(h('p', { class: 'same' }, `${countOf(changes.kept, 'message')} as in `, link(changes.previous), ' — ',
        h('button', { type: 'button', class: 'more', onclick: showAll }, 'show')));
    }
    parts.push(...(changes.fresh.length ? changes.fresh.map(message) : [note('No message is new: the same request again.')]));
  }
  const answer = changes.answer;
  if (answer !== null) parts.push(h('h3', { class: 'part' }, 'Answer'));
  parts.push(answer === null ? note('No answer was read.')
    : answer && typeof answer === 'object' && 'role' in answer ? message(answer) : card('answer', jsonTree(answer)));
  return parts;
}

/** @param {any} changes @returns {Node[]} */
export function diffBody(changes) {
  if (changes.fresh === undefined) return [note(changes.note)];
  if (changes.previous === null) return [note('This is the first request of this agent: there is none to compare it with.')];
  const { settings, tools, rows, broke, lost } = changes;
  const parts = [h('p', { class: 'same' }, 'Compared with the request of ', link(changes.previous), '.')];
  if (changes.note) parts.push(h('div', { class: 'note' }, changes.note));
  if (broke) parts.push(h('div', { class: 'note', 'data-broke': true }, h('b', {}, 'The common beginning ends early. '), broke, lost && h('small', {}, lost)));
  parts.push(...settings.map((/** @type {any} */ each) => changed(`parameter ${each.name}`, each)),
    ...tools.map((/** @type {any} */ each) => changed(`tool ${each.name}`, each)), ...rows.map(row));
  if (!settings.length && !tools.length && rows.every((/** @type {any} */ each) => each.state === 'same')) parts.push(note('Nothing differs: the same request again.'));
  return parts;
}

/** @param {any} each */
function row(each) {
  if (each.state === 'same') return h('p', { class: 'same' }, `${countOf(each.count, 'message')} unchanged`);
  if (each.state === 'more') return note('More than this differs: the tab Request has all of it.');
  return changed(`${each.at + 1} · ${each.role}`, each);
}

/** @param {string} title @param {any} each */
function changed(title, each) {
  return card([title, h('em', { class: `state state-${each.state}` }, STATES[each.state])],
    h('div', { class: 'diff' }, each.pieces.map(piece)));
}

/** @param {[string, string]} piece @returns {Kid} */
function piece([mark, text]) {
  return mark === '…' ? h('em', { class: 'cut' }, ` … ${text} characters … `) : h(MARKS[mark], {}, withFiles(text));
}
