// @ts-check
// A run that goes on, as it goes on. An event says how far it has come; the steps are then read again as a whole,
// so that none is lost or shown twice, whatever happens to the connection.
import { byId, h } from './dom.js';
import { poll, silence } from './poll.js';

const SILENCE_MS = 2000;
const RETRY_MS = 2500;
const LOOK_AGAIN_MS = 2500;

/**
 * @typedef {object} View
 * @property {() => Promise<any>} fetchColumns
 * @property {(data: any) => number} grow  how many new steps are below what is in view
 * @property {() => void} toEnd
 * @property {() => void} tick  time goes on
 */

/** Does nothing on a page of a run that is over and cannot go on. @param {View} view */
export function follow(view) {
  const main = byId('main');
  const { events: address, summary } = main.dataset;
  if (!address) return;
  const line = byId('live');
  const text = byId('live-text');
  const below = byId('live-new');
  const stopped = silence();
  let unseen = 0;
  let lostAt = 0;
  let ticking = 0;
  let isReading = false;
  let isStale = false;

  /** @param {string} state @param {...(Node | string)} words */
  const say = (state, ...words) => {
    line.dataset.state = state;
    text.replaceChildren(...words);
  };
  const see = () => {
    unseen = 0;
    below.hidden = true;
  };
  /** One reading at a time; what is told meanwhile is read after it. */
  const read = async () => {
    isStale = true;
    if (isReading) return;
    isReading = true;
    while (isStale) {
      isStale = false;
      try {
        const added = view.grow(await view.fetchColumns());
        unseen = added ? unseen + added : 0;
        below.textContent = `↓ ${unseen} new`;
        below.hidden = unseen === 0;
      } catch {
        lostAt ||= Date.now();
      }
    }
    isReading = false;
  };

  below.addEventListener('click', () => {
    view.toEnd();
    see();
  });
  const tick = () => {
    view.tick();
    const silent = Date.now() - lostAt;
    if (!lostAt || silent < SILENCE_MS) return;
    stopped.last(silent);
    if (line.dataset.state !== 'lost') say('lost', stopped.notice);
  };
  if (main.dataset.status === 'running') connect();
  else waitForMore(Number(main.dataset.steps));

  /** The run is over, but its client named it, and may go on with it. @param {number} known */
  function waitForMore(known) {
    if (!summary) return;
    poll(summary, LOOK_AGAIN_MS, ({ run }) => {
      if (run.status !== 'running' && run.total_steps === known) return true;
      connect();
      return false;
    });
  }

  function connect() {
    const events = new EventSource(/** @type {string} */ (address));
    ticking ||= setInterval(tick, 500);
    /** @param {string} words */
    const end = (words) => {
      events.close();
      clearInterval(ticking);
      ticking = 0;
      say('over', words, ' ', h('a', { href: location.pathname + location.search }, 'Show its figures'));
    };
    line.hidden = false;
    events.addEventListener('open', () => {
      if (lostAt) read();
      lostAt = 0;
      say('on', 'Live');
    });
    events.addEventListener('error', () => {
      lostAt ||= Date.now();
      if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS); // refused: browsers give up then
    });
    events.addEventListener('message', async (event) => {
      const { is_over: isOver, total_steps: steps } = JSON.parse(event.data);
      await read();
      if (!isOver) return;
      end('The run is over.');
      waitForMore(steps);
    });
    events.addEventListener('gone', () => end('The run is part of another now.'));
  }
}
