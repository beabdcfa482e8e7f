// Work in slices, so that no frame waits for it: whatever comes in, and however much, is taken in
// piece by piece between frames.

/** Longest time worked at a stretch. */
const SLICE_MS = 5;
/** After so long since a frame the next one is let in before work goes on. */
const FRAME_MS = 8;
/** A frame that does not come by then is not waited for: nothing moves on the screen. */
const NO_FRAME_MS = 100;

/** Does one piece of work; false: there is no more for now. */
export type Work = () => boolean;

const waiting = new Set<Work>();
let isDue = false;
let framedMs = -Infinity;

/** Do `work` piece by piece until it says that there is no more. */
export function workSoon(work: Work): void {
  waiting.add(work);
  if (isDue) return;
  isDue = true;
  post();
}

/** Forget it. */
export function workNoMore(work: Work): void {
  waiting.delete(work);
}

function slice(): void {
  isDue = false;
  const untilMs = performance.now() + SLICE_MS;
  while (waiting.size > 0 && performance.now() < untilMs) {
    // In turns: a large trace does not keep the list waiting.
    for (const work of [...waiting]) {
      if (!isMore(work)) waiting.delete(work);
      if (performance.now() >= untilMs) break;
    }
  }
  if (waiting.size === 0) return;
  isDue = true;
  const isSeen = typeof document !== "undefined" && !document.hidden;
  if (isSeen && performance.now() - framedMs > FRAME_MS) afterFrame();
  else post();
}

function isMore(work: Work): boolean {
  try {
    return work();
  } catch (error) {
    reportError(error); // a fault of ours: others' work goes on
    return false;
  }
}

function afterFrame(): void {
  let isDone = false;
  const done = () => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    framedMs = performance.now();
    post();
  };
  const timer = setTimeout(done, NO_FRAME_MS);
  requestAnimationFrame(done);
}

// A timer would be late: browsers hold those back that ask often, and all of a hidden tab.
const channel = typeof MessageChannel === "undefined" ? null : new MessageChannel();
if (channel) channel.port1.onmessage = slice;

function post(): void {
  if (channel) channel.port2.postMessage(null);
  else setTimeout(slice, 0);
}
