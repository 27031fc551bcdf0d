// @ts-check
// Addresses that scripts make: the same rules as addresses.py.

/** @param {string} runId */
export function runPath(runId) {
  // Dots, and an end that stands for a twin of the page, need the mark to survive as a path segment.
  const needsMark = runId === '.' || runId === '..' || /\.(json|ndjson|md)$/.test(runId);
  return `/runs/${encodeURIComponent(needsMark ? `${runId}\x7f` : runId)}`;
}
