// The one scheduler of the page: what wants to paint says so, and all of it happens in one
// animation frame. A hidden tab paints nothing.

type Paint = (nowMs: number) => void;

const wanted = new Set<Paint>();
const ticking = new Set<Paint>();
let frame = 0;

function ask(): void {
  if (frame === 0 && !document.hidden && (wanted.size > 0 || ticking.size > 0)) {
    frame = requestAnimationFrame(run);
  }
}

function run(nowMs: number): void {
  frame = 0;
  const due = [...wanted, ...[...ticking].filter((paint) => !wanted.has(paint))];
  wanted.clear();
  for (const paint of due) paint(nowMs);
  ask();
}

/** Run `paint` once in the next frame, however often it is asked for before. */
export function paintSoon(paint: Paint): void {
  wanted.add(paint);
  ask();
}

/** Run `paint` in every frame until the returned function is called. */
export function paintAlways(paint: Paint): () => void {
  ticking.add(paint);
  ask();
  return () => {
    ticking.delete(paint);
    wanted.delete(paint);
  };
}

if (typeof document !== "undefined") {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && frame !== 0) {
      cancelAnimationFrame(frame);
      frame = 0;
    }
    ask();
  });
}
