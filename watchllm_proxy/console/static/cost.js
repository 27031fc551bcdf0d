// @ts-check
// Where a model call's tokens, money and time went: the tab Cost & time.
import { h, svg } from './dom.js';
import { card } from './messages.js';
import { jsonTree } from './render.js';

/** @param {any} step @param {any} call @returns {Node[]} */
export function costBody(step, call) {
  const money = { cost_usd: call.cost_usd, cost_source: call.cost_source, price_provider: call.price_provider, price_date: call.price_date };
  const attempts = step.attempts.length > 1 ? `time · ${step.attempts.length} attempts` : 'time';
  return [
    step.tokens.length ? card('tokens', h('div', { class: 'spent-on' }, step.tokens.map(tokenRow))) : null,
    card('money', jsonTree(money)),
    card(attempts, h('div', { class: 'spent-on' }, step.attempts.map((/** @type {any} */ each) => attemptRow(each, step.index)))),
    card('usage, as it was told', jsonTree(call.usage)), card('timing', jsonTree(call.timing)),
  ].filter((part) => part !== null);
}

/** @param {any} row */
const tokenRow = ({ label, tokens, share }) => [h('span', {}, label), bar([{ left: '0', width: share, cls: '' }]), h('b', {}, tokens)];

/** To the first token, and from there on. @param {any} each @param {number} here */
function attemptRow(each, here) {
  const { step, says, took, left, width, first_token: first } = each;
  const isLost = !says.startsWith('HTTP 2');
  const place = step === here ? h('b', {}, `#${step}`) : h('a', { href: `#step-${step}` }, `#${step}`);
  const parts = [{ left, width, cls: isLost ? 'lost' : '' }, { left, width: first, cls: 'awaited' }];
  return [h('span', {}, place, ` ${says}`), bar(parts), h('span', {}, took)];
}

/** @param {{left: string, width: string, cls: string}[]} parts */
function bar(parts) {
  return svg('svg', { 'aria-hidden': 'true' }, parts.map(({ left, width, cls }) => svg('rect', { x: left, width, height: 10, rx: 2, class: cls })));
}
