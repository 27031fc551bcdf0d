// @ts-check
// Captured text turned into nodes. Nothing here parses HTML; links in text stay text, images never load by themselves.
import { h } from './dom.js';
import { cutBeforeFile, fileOf, withFiles } from './files.js';
import { copy } from './shell.js';
/** @import { Kid } from './dom.js' */

const OPEN_LEVELS = 3;
const MAX_LEVELS = 40;
const MAX_CHILDREN = 200;
const LONG = 600;
const MAX_MARKDOWN = 20000;
const MAX_SHOWN = 256 * 1024;

/** A number that JavaScript would round, kept as it was written. */
class ExactNumber {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
  }

  /** Copied JSON holds the number as it was. */
  toJSON() {
    // @ts-ignore newer than the library's types; without it the number is copied as text
    return JSON.rawJSON ? JSON.rawJSON(this.source) : this.source;
  }
}

/** @param {string} text */
export function parseJson(text) {
  // @ts-ignore the third argument is newer than the library's types; without it numbers are as JavaScript has them
  return JSON.parse(text, (_key, value, context) =>
    typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
      ? new ExactNumber(context.source) : value);
}

/** The JSON value in a text, or undefined. Only objects and arrays: a bare word is text. @param {unknown} text */
function embedded(text) {
  if (typeof text !== 'string' || !/^\s*[[{]/.test(text)) return undefined;
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** A tree that is open three levels deep and made on demand below. @param {any} value @returns {HTMLElement} */
export function jsonTree(value) {
  return h('div', { class: 'json' }, branch(value, null, 0));
}

/** @param {any} value @param {string | null} key @param {number} depth @returns {HTMLElement} */
function branch(value, key, depth) {
  const label = key === null ? '' : h('span', { class: 'jk' }, `${key}: `);
  if (value && typeof value === 'object' && !(value instanceof ExactNumber)) {
    return container(value, label, depth, '');
  }
  const inner = depth < MAX_LEVELS ? embedded(value) : undefined;
  if (inner !== undefined) return container(inner, label, depth, 'JSON in a string');
  return h('div', {}, label, leaf(value));
}

/** @param {number} bytes */
const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** What base64 text holds and how much, or undefined. Only its beginning is looked at. @param {string} text */
function base64Kind(text) {
  const url = /^data:([\w.+-]+\/[\w.+-]+);base64,/.exec(text.slice(0, 200));
  if (!url && !/^[A-Za-z0-9+/]{1000}/.test(text.slice(0, 1000))) return undefined;
  return `${url ? url[1] : 'base64'}, ${size((text.length - (url ? url[0].length : 0)) * 0.75)}`;
}

/** What the server left: beginnings that a step holds, and what looks like base64. @param {string} text @param {string} kind */
const binary = (text, kind) => h('button', { class: 'more', type: 'button', onclick: () => copy(text, 'Copied') }, `${kind} · copy`);

/** @param {any} value */
function leaf(value) {
  const file = typeof value === 'string' ? fileOf(value) : undefined;
  if (file) return file;
  const kind = typeof value === 'string' ? base64Kind(value) : undefined;
  if (kind) return binary(value, kind);
  if (typeof value === 'string') return longText(value, 'js', '"');
  if (value instanceof ExactNumber) return h('span', { class: 'jn' }, value.source);
  return h('span', { class: typeof value === 'number' ? 'jn' : 'jb' }, String(value));
}

/** @param {any} value @param {Kid} label @param {number} depth @param {string} note */
function container(value, label, depth, note) {
  const keys = Object.keys(value);
  const size = Array.isArray(value) ? `[${keys.length}]` : `{${keys.length}}`;
  const isOpen = depth < OPEN_LEVELS;
  const box = h('details', { open: isOpen },
    h('summary', {}, label, size, note && h('span', { class: 'muted' }, `  ${note}`)));
  const fill = () => box.append(h('div', { class: 'ch' }, children(value, keys, depth)));
  if (isOpen) fill();
  else box.addEventListener('toggle', fill, { once: true });
  return box;
}

/** @param {any} value @param {string[]} keys @param {number} depth @returns {HTMLElement[]} */
function children(value, keys, depth) {
  const shown = keys.slice(0, MAX_CHILDREN).map((key) => branch(value[key], key, depth + 1));
  if (keys.length > MAX_CHILDREN) {
    const more = h('button', { class: 'more', type: 'button', onclick: () => more.replaceWith(
      ...keys.slice(MAX_CHILDREN).map((key) => branch(value[key], key, depth + 1))) },
    `show ${keys.length - MAX_CHILDREN} more`);
    shown.push(more);
  }
  return shown;
}

/** Text that is cut when long, and opens whole. @param {string} text @param {string} cls @param {string} [quote] */
export function longText(text, cls, quote = '') {
  if (text.length <= LONG * 1.5) return h('span', { class: cls }, quote, withFiles(text), quote);
  const shown = h('span', { class: cls }, quote, withFiles(text.slice(0, cutBeforeFile(text, LONG))), '…');
  const isWhole = text.length <= MAX_SHOWN;
  const all = text.length.toLocaleString('en');
  const more = h('button', { class: 'more', type: 'button', onclick: () => {
    const beginning = isWhole ? text : text.slice(0, cutBeforeFile(text, MAX_SHOWN));
    shown.replaceChildren(h('span', {}, quote, withFiles(beginning), isWhole ? quote : '…'));
    more.replaceWith(isWhole ? '' : h('em', { class: 'muted' }, `the first 256 k of ${all} characters: more would stop the page; Copy has all`));
  } }, isWhole ? `show all ${all} characters` : `show the first 256 k of ${all} characters`);
  return h('span', {}, shown, ' ', more);
}

/** A value as JSON, spelt out. @param {any} value */
export function raw(value) {
  const short = JSON.stringify(value, (_key, each) => (typeof each === 'string' && base64Kind(each) ? `⟨${base64Kind(each)}⟩` : each), 2);
  return longText(short, 'tx');
}

/** JSON as a tree, markdown-ish prose as paragraphs. @param {string} text @param {(prose: string) => HTMLElement} [prose] */
export function pretty(text, prose = (plain) => (plain.length > 4 * LONG ? longText(plain, 'tx') : markdown(plain))) {
  const value = embedded(text);
  if (value !== undefined) return jsonTree(value);
  const kind = base64Kind(text);
  return kind ? binary(text, kind) : prose(text);
}

/** The argument that an error names, as `error.param` or its like; undefined where it names none. @param {string | null} output */
export function namedByError(output) {
  const told = embedded(output);
  const param = told?.error?.param ?? told?.param;
  return typeof param === 'string' ? param.match(/[\w-]+(?=\W*$)/)?.[0] : undefined;
}

/** Arguments, with the one marked that the error names. @param {string} text @param {string | undefined} name */
export function argumentsMarked(text, name) {
  const tree = pretty(text);
  for (const key of tree.querySelectorAll('.jk')) {
    if (name !== undefined && key.textContent === `${name}: `) key.append(h('mark', {}, 'the error names this'), ' ');
  }
  return tree;
}

/** A sentence whose step numbers are links: "step 17", "steps 3 and 5", "#17". @param {string} text */
export function withStepLinks(text) {
  const pieces = /** @type {Kid[]} */ ([]);
  let start = 0;
  for (const reference of text.matchAll(/#\d{1,6}\b|\bsteps? \d{1,6}(?:(?:,? and |, )\d{1,6})*\b/gi)) {
    for (const number of reference[0].matchAll(/\d+/g)) {
      const at = reference.index + number.index;
      pieces.push(text.slice(start, at), h('a', { href: `#step-${number[0]}` }, number[0]));
      start = at + number[0].length;
    }
  }
  return h('span', {}, pieces, text.slice(start));
}

/** `code`, **bold** and *emphasis*. @param {string} line */
function inline(line) {
  const pieces = /** @type {Kid[]} */ ([]);
  let start = 0;
  for (const match of line.matchAll(/`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*/g)) {
    pieces.push(...withFiles(line.slice(start, match.index)), mark(match[0]));
    start = match.index + match[0].length;
  }
  return [...pieces, ...withFiles(line.slice(start))];
}

/** @param {string} text */
function mark(text) {
  if (text.startsWith('`')) return h('code', {}, text.slice(1, -1));
  return text.startsWith('**') ? h('strong', {}, text.slice(2, -2)) : h('em', {}, text.slice(1, -1));
}

const ITEM = /^([-*]|\d+\.) /;
const SPECIAL = /^(#{1,6} |```|[-*] |\d+\. )/;

/** The subset of markdown that models answer in, as nodes. @param {string} source */
export function markdown(source) {
  if (source.length > MAX_MARKDOWN) return longText(source, 'tx');
  const lines = source.split('\n');
  const box = h('div', { class: 'md' });
  let i = 0;
  /** @param {(line: string) => boolean} test */
  const takeWhile = (test) => {
    const from = i;
    while (i < lines.length && test(lines[i])) i++;
    return lines.slice(from, i);
  };
  while (i < lines.length) {
    const line = lines[i];
    if (line.startsWith('```')) {
      i++;
      box.append(h('pre', {}, h('code', {}, takeWhile((each) => !each.startsWith('```')).join('\n'))));
      i++;
    } else if (/^#{1,6} /.test(line)) {
      box.append(h('h4', {}, inline(line.replace(/^#+ /, ''))));
      i++;
    } else if (ITEM.test(line)) {
      const items = takeWhile((each) => ITEM.test(each));
      box.append(h(/^\d/.test(line) ? 'ol' : 'ul', {}, items.map((each) => h('li', {}, inline(each.replace(ITEM, ''))))));
    } else if (!line.trim()) {
      i++;
    } else {
      box.append(h('p', {}, inline(takeWhile((each) => each.trim() !== '' && !SPECIAL.test(each)).join('\n'))));
    }
  }
  return box;
}
