// @ts-check
// A run that goes on, as it goes on. An event says how far it has come; the steps are then read again as a whole,
// so that none is lost or shown twice, whatever happens to the connection.
import { byId, h } from './dom.js';
import { silence } from './poll.js';

const SILENCE_MS = 2000;
const RETRY_MS = 2500;

/**
 * @typedef {object} View
 * @property {() => Promise<any>} fetchColumns
 * @property {(data: any) => number} grow  how many new steps are below what is in view
 * @property {() => void} toEnd
 * @property {() => void} tick  time goes on
 */

/** Does nothing on a page of a run that is over. @param {View} view */
export function follow(view) {
  const address = byId('main').dataset.events;
  if (!address) return;
  const line = byId('live');
  const text = byId('live-text');
  const below = byId('live-new');
  const stopped = silence();
  let unseen = 0;
  let lostAt = 0;
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
  const ticking = setInterval(() => {
    view.tick();
    const silent = Date.now() - lostAt;
    if (!lostAt || silent < SILENCE_MS) return;
    stopped.last(silent);
    if (line.dataset.state !== 'lost') say('lost', stopped.notice);
  }, 500);
  connect();

  function connect() {
    const events = new EventSource(/** @type {string} */ (address));
    /** @param {string} words */
    const end = (words) => {
      events.close();
      clearInterval(ticking);
      say('over', words, ' ', h('a', { href: location.pathname + location.search }, 'Show its figures'));
    };
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
      await read();
      if (JSON.parse(event.data).is_over) end('The run is over.');
    });
    events.addEventListener('gone', () => end('The run is part of another now.'));
  }
}
