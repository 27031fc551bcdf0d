// @ts-check
// How far an export is, until it is over: then the page is read again, with what can be done with it.
import { byId } from './dom.js';
import { poll } from './poll.js';

const POLL_MS = 1000;
const bar = /** @type {HTMLProgressElement} */ (byId('bar'));
const words = byId('words');

poll(
  byId('main').dataset.job ?? '',
  POLL_MS,
  (said) => {
    if (said.export.state !== 'waiting' && said.export.state !== 'running') {
      location.reload();
      return false;
    }
    words.textContent = said.words;
    if (said.export.total_runs) {
      bar.max = said.export.total_runs;
      bar.value = said.export.runs;
    }
    return true;
  },
  (silentMs) => {
    words.textContent = `Not heard of for ${Math.round(silentMs / 1000)} s, trying again. The export goes on.`;
  },
);
