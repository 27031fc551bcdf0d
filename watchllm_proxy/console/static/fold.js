// @ts-check
// Idle time cut out of the bars: pages/folding.py for the browser.

export class Fold {
  /** @param {[number, number][]} cuts  from when and how long, in order */
  constructor(cuts) {
    this.starts = cuts.map(([start]) => start);
    this.lengths = cuts.map(([, length]) => length);
    let out = 0;
    this.before = this.lengths.map((length) => (out += length) - length);
    this.foldedStarts = this.starts.map((start, i) => start - this.before[i]);
  }

  get isEmpty() {
    return this.starts.length === 0;
  }

  /** Where a time stands once the cuts are out. @param {number} us */
  at(us) {
    const last = passed(this.starts, us, true) - 1;
    return last < 0 ? us : us - this.before[last] - Math.min(us - this.starts[last], this.lengths[last]);
  }

  /** The time that stands there; of a cut its beginning. @param {number} us */
  unfolded(us) {
    const last = passed(this.foldedStarts, us, false) - 1;
    return last < 0 ? us : us + this.before[last] + this.lengths[last];
  }
}

/** How many of the places lie before `us`, or at it. @param {number[]} places @param {number} us @param {boolean} orAt */
function passed(places, us, orAt) {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < us || (orAt && places[middle] === us)) low = middle + 1;
    else high = middle;
  }
  return low;
}
