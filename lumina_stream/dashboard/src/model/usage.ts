// Sums over a span and everything below it: spans, open ones, errors, tokens, cost.
//
// A change is added to every span above it at once, which costs its depth. Where that would be dear
// (a chain of ten thousand, a tree that comes as a whole), the sums are left stale, and `sum` adds
// everything up in one pass. What a call adds beyond the spans below it is worked out by the relay.

import { NONE } from "./columns";
import { Siblings } from "./siblings";
import { ERROR, RUNNING } from "./states";

/** Sums over a span and everything below it. */
export type Totals = {
  spans: number;
  open: number;
  errors: number;
  input: number;
  output: number;
  /** Trillionths of a dollar; null where no call has a price. */
  cost: number | null;
  /** Calls that nobody has a price for: they are not in `cost`. */
  unpriced: number;
  calls: number;
};

/** Steps upwards between two `sum`s, for each span, above which one pass is cheaper. */
const STEPS_PER_SPAN = 4;
const STEPS_AT_LEAST = 100_000;

export abstract class Sums extends Siblings {
  private stale = false;
  private steps = 0;

  /** The sums of a span as of the last `sum`. */
  protected totalsOf(i: number): Totals {
    const calls = this.allCalls[i];
    const unpriced = this.allUnpriced[i];
    return {
      spans: this.allSpans[i],
      open: this.allOpen[i],
      errors: this.allErrors[i],
      input: this.allInput[i],
      output: this.allOutput[i],
      cost: calls > unpriced ? this.allCost[i] : null,
      unpriced,
      calls,
    };
  }

  /** Bring the sums up to date; while more is coming, only if that is cheap. */
  protected sum(isMoreComing: boolean): void {
    if (this.stale && isMoreComing) return;
    if (this.stale) this.addUp();
    this.stale = false;
    this.steps = 0;
  }

  /** Add to a span and all above it. */
  protected climb(i: number, spans: number, open: number, errors: number): void {
    if (this.stale) return;
    let steps = 0;
    const { parent, allSpans, allOpen, allErrors } = this;
    for (let step = i; step !== NONE; step = parent[step]) {
      allSpans[step] += spans;
      allOpen[step] += open;
      allErrors[step] += errors;
      steps++;
    }
    this.spend(steps);
  }

  protected setShare(i: number, input: number, output: number, cost: number | null): boolean {
    const price = cost === null ? NaN : cost;
    const { input: inputs, output: outputs, cost: costs } = this;
    if (inputs[i] === input && outputs[i] === output && Object.is(costs[i], price)) return false;
    this.climbShare(i, -1);
    inputs[i] = input;
    outputs[i] = output;
    costs[i] = price;
    this.climbShare(i, 1);
    return true;
  }

  /** Hang a span with all that is below it from `parent`, or make it a root. */
  protected link(i: number, parent: number): void {
    this.insert(i, parent);
    if (parent !== NONE) this.move(i, parent, 1);
  }

  /** Take a span with all that is below it from where it hangs. */
  protected unlink(i: number): void {
    const parent = this.parent[i];
    this.remove(i);
    if (parent !== NONE) this.move(i, parent, -1);
  }

  protected override copy(other: Sums): void {
    super.copy(other);
    this.stale = other.stale;
  }

  /** What the span is, as an index into STATES. */
  abstract stateCode(i: number): number;
  abstract unended(): Int32Array;

  private spend(steps: number): void {
    this.steps += steps;
    if (this.steps > STEPS_AT_LEAST + STEPS_PER_SPAN * this.count) this.stale = true;
  }

  private climbShare(i: number, sign: number): void {
    if (this.stale) return;
    const cost = this.cost[i];
    const input = sign * this.input[i];
    const output = sign * this.output[i];
    const calls = isCounted(this.input[i], this.output[i], cost) ? sign : 0;
    if (calls === 0) return;
    const unpriced = cost !== cost ? sign : 0;
    const price = cost > 0 ? sign * cost : 0;
    let steps = 0;
    for (let step = i; step !== NONE; step = this.parent[step]) {
      this.allInput[step] += input;
      this.allOutput[step] += output;
      this.allCost[step] += price;
      this.allCalls[step] += calls;
      this.allUnpriced[step] += unpriced;
      steps++;
    }
    this.spend(steps);
  }

  private move(i: number, parent: number, sign: number): void {
    if (this.stale) return;
    if (this.allSpans[i] === 0 && this.allCalls[i] === 0) return; // new, with nothing below
    const spans = sign * this.allSpans[i];
    const open = sign * this.allOpen[i];
    const errors = sign * this.allErrors[i];
    const calls = sign * this.allCalls[i];
    let steps = 0;
    for (let step = parent; step !== NONE; step = this.parent[step]) {
      this.allSpans[step] += spans;
      this.allOpen[step] += open;
      this.allErrors[step] += errors;
      if (calls !== 0) {
        this.allCalls[step] += calls;
        this.allUnpriced[step] += sign * this.allUnpriced[i];
        this.allInput[step] += sign * this.allInput[i];
        this.allOutput[step] += sign * this.allOutput[i];
        this.allCost[step] += sign * this.allCost[i];
      }
      steps++;
    }
    this.spend(steps);
  }

  /** Add everything up. Children come after their parents as a rule: one pass from the end then. */
  private addUp(): void {
    const { count, parent } = this;
    let late = 0;
    this.allOpen.fill(0, 0, count);
    for (const i of this.unended()) this.allOpen[i] = this.stateCode(i) === RUNNING ? 1 : 0;
    for (let i = 0; i < count; i++) {
      this.own(i);
      if (parent[i] > i) late++;
    }
    if (late === 0) {
      for (let i = count - 1; i >= 0; i--) if (parent[i] !== NONE) this.addTo(parent[i], i);
      return;
    }
    const waits = this.childCount.slice(0, count);
    for (let i = 0; i < count; i++) {
      // Up from each span that waits for no child any more.
      if (this.childCount[i] !== 0) continue;
      for (let step = i; ;) {
        const above = parent[step];
        if (above === NONE) break;
        this.addTo(above, step);
        if (--waits[above] > 0) break;
        step = above;
      }
    }
  }

  private own(i: number): void {
    const started = this.start[i] === this.start[i];
    const cost = this.cost[i];
    const counted = isCounted(this.input[i], this.output[i], cost);
    this.allSpans[i] = started ? 1 : 0;
    this.allErrors[i] = this.status[i] === ERROR ? 1 : 0;
    this.allCalls[i] = counted ? 1 : 0;
    this.allUnpriced[i] = counted && cost !== cost ? 1 : 0;
    this.allInput[i] = counted ? this.input[i] : 0;
    this.allOutput[i] = counted ? this.output[i] : 0;
    this.allCost[i] = counted && cost > 0 ? cost : 0;
  }

  private addTo(above: number, i: number): void {
    this.allSpans[above] += this.allSpans[i];
    this.allOpen[above] += this.allOpen[i];
    this.allErrors[above] += this.allErrors[i];
    if (this.allCalls[i] === 0) return;
    this.allCalls[above] += this.allCalls[i];
    this.allUnpriced[above] += this.allUnpriced[i];
    this.allInput[above] += this.allInput[i];
    this.allOutput[above] += this.allOutput[i];
    this.allCost[above] += this.allCost[i];
  }
}

/** Whether a share is of a call that counts: another span may speak of the same one, with 0
 *  here. */
function isCounted(input: number, output: number, cost: number): boolean {
  return cost !== cost || input > 0 || output > 0;
}
