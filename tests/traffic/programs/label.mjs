// Says to which run each request truly belongs, in a header that is taken out of the recording (see label.py).
// Import it before any client: they take hold of fetch when they are loaded.
import { AsyncLocalStorage } from "node:async_hooks";

const labels = new AsyncLocalStorage();
const send = globalThis.fetch;

globalThis.fetch = (input, init = {}) => {
  const url = new URL(input instanceof Request ? input.url : input);
  if (url.hostname !== "127.0.0.1") throw new Error(`${url.hostname} is not on loopback`);
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
  if (labels.getStore()) headers.set("X-Truth", JSON.stringify(labels.getStore()));
  return send(input, { ...init, headers });
};

export const run = (scenario, name, label, work) => labels.run({ setup: process.env.TRAFFIC_SETUP, scenario, run: name, ...label }, work);
export const changed = (label, work) => labels.run({ ...labels.getStore(), ...label }, work);
export const child = (name, work) => {
  const parent = labels.getStore();
  return run(parent.scenario, `${parent.run}.${name}`, { parent: parent.run, turn: parent.turn ?? 0 }, work);
};
export const all = (count, work) => Promise.all([...Array(count).keys()].map(work));
