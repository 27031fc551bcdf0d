// @ts-check
// Waits for the first request and moves to its run, unless told to stay.
import { runPath } from './addresses.js';
import { byId, h } from './dom.js';

const POLL_MS = 600;
const MOVE_AFTER_MS = 1200;
const main = byId('main');
const known = main.dataset.newestRun ?? '';
const started = Date.now();

/** @param {string} url */
async function getJson(url) {
  const answer = await fetch(url, { cache: 'no-store' });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

/** What the newest call was, in a few words. @param {string} runId */
async function callInWords(runId) {
  const { calls } = await getJson('/api/calls?limit=20');
  const call = calls.findLast((/** @type {any} */ each) => each.run_id === runId);
  if (!call) return 'a request';
  const model = call.response_model ?? call.request_model ?? call.target;
  if (call.http_status === 401) {
    return `401 from ${main.dataset.upstream}: your key was refused there; WatchLLM passed it on unchanged`;
  }
  return `${model}, ${call.http_status ?? call.end}, ${call.duration_ms} ms`;
}

/** @param {any} run */
async function announce(run) {
  const path = runPath(run.run_id);
  const words = await callInWords(run.run_id).catch(() => 'a request');
  const moving = setTimeout(() => location.assign(path), MOVE_AFTER_MS);
  const stay = h('button', { type: 'button', onclick: () => {
    clearTimeout(moving);
    stay.remove();
  } }, 'Stay here');
  byId('spin').replaceWith(h('span', { class: 'ok1', 'aria-hidden': 'true' }, '✓'));
  byId('waiting').replaceChildren(words, ' — ', h('a', { href: path }, run.title || run.agent_name || run.run_id));
  byId('waited').replaceChildren(stay);
}

async function poll() {
  const waited = Math.round((Date.now() - started) / 1000);
  try {
    const { runs } = await getJson('/api/agent-runs?kind=all&limit=1');
    if (runs.length && runs[0].run_id !== known) return announce(runs[0]);
    if (waited >= 5) byId('waited').textContent = `for ${waited} s`;
  } catch {
    byId('waited').textContent = 'the console does not answer; trying again';
  }
  setTimeout(poll, POLL_MS);
}

poll();
