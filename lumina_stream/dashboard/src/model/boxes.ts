// Boxes in rows, none overlapping another: what both flame graphs are drawn from. Pure.
//
// A row lists its boxes from left to right, so that drawing looks up where to begin, and steps over
// what is narrower than a pixel: the cost is that of the columns, not of the boxes.

import { fromPx, toPx } from "./axis";
import type { Scale } from "./axis";
import { NONE } from "./tree";

/** A pixel, as doubles have it. */
const WHOLE = 1 - 1e-6;

export class Boxes {
  rows = 0;
  // By box, longer than there are boxes.
  /** Its row, from 0 at the top. */
  row = new Int32Array(0);
  /** Where it begins and ends, in whatever the axis measures; start NaN: it is not drawn. */
  start = new Float64Array(0);
  end = new Float64Array(0);

  /** Boxes by row, then from left to right; row r has order[first[r]] to order[first[r + 1] - 1]. */
  private order = new Int32Array(0);
  private first = new Int32Array(1);

  /** Make room for so many boxes; what is in the columns is lost. */
  protected reserve(count: number): void {
    if (this.row.length >= count) return;
    const length = Math.ceil(count * 1.5);
    this.row = new Int32Array(length);
    this.start = new Float64Array(length);
    this.end = new Float64Array(length);
    this.order = new Int32Array(length);
  }

  /** List the boxes by their rows; in `walk` those of one row come from left to right. */
  protected sort(walk: Int32Array, count: number): void {
    const { row, order, start, rows } = this;
    if (this.first.length < rows + 1) this.first = new Int32Array(Math.ceil(rows * 1.5) + 1);
    const first = this.first;
    first.fill(0, 0, rows + 1);
    for (let k = 0; k < count; k++) {
      const i = walk[k];
      if (start[i] === start[i]) first[row[i] + 1]++;
    }
    for (let r = 0; r < rows; r++) first[r + 1] += first[r];
    for (let k = 0; k < count; k++) {
      const i = walk[k];
      if (start[i] === start[i]) order[first[row[i]]++] = i;
    }
    for (let r = rows; r > 0; r--) first[r] = first[r - 1]; // it was moved on by that
    first[0] = 0;
  }

  /** Call `draw` for what is to be seen of a row: a box of a pixel at least, or, with NONE, a stretch
   *  of boxes that are narrower. `now`: where boxes without an end end. */
  visit(
    r: number,
    scale: Scale,
    now: number,
    draw: (box: number, x: number, right: number) => void,
  ): void {
    const { order, start, end } = this;
    const last = this.first[r + 1];
    let crumbs = NaN; // where narrow ones begin
    let crumbsEnd = NaN;
    for (let k = this.search(r, scale.from); k < last;) {
      const box = order[k];
      const from = toPx(scale, start[box]);
      const to = toPx(scale, Math.min(end[box], Math.max(now, start[box])));
      const x = Math.round(from);
      const right = Math.max(x + 1, Math.round(to));
      if (x >= scale.width) break;
      const isBox = to - from >= WHOLE;
      if (crumbs === crumbs && (isBox || x > crumbsEnd)) {
        draw(NONE, crumbs, crumbsEnd);
        crumbs = NaN;
      }
      if (isBox) {
        if (right > 0) draw(box, x, right);
        k++;
        continue;
      }
      if (crumbs !== crumbs) crumbs = x;
      crumbsEnd = right;
      // What ends within this column adds nothing to it.
      k = this.search(r, fromPx(scale, right - 0.5), k + 1);
    }
    if (crumbs === crumbs) draw(NONE, crumbs, crumbsEnd);
  }

  /** The box at a place; NONE where there is none within `reach`. */
  at(r: number, place: number, now: number, reach: number): number {
    if (r < 0 || r >= this.rows) return NONE;
    for (let k = this.search(r, place - reach); k < this.first[r + 1]; k++) {
      const box = this.order[k];
      if (this.start[box] > place + reach) break;
      if (Math.min(this.end[box], Math.max(now, this.start[box])) >= place - reach) return box;
    }
    return NONE;
  }

  /** The first place in `order` of row r whose box is not over before `place`. */
  private search(r: number, place: number, from = this.first[r]): number {
    let low = from;
    let high = this.first[r + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.end[this.order[middle]] < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
