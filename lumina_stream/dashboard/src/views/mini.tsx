// The small waterfall of a list's line: the root's children over its time.

import { kindColour } from "./glyph";
import { lanes } from "./lanes";
import type { Bar } from "./lanes";

const LANES = 5;
const LANE = 5;
const WIDTH = 1000;
const HEIGHT = LANES * LANE;

export function Mini({ bars, state }: { bars: readonly Bar[]; state: string }) {
  const { placed, count } = lanes(bars, LANES);
  const top = (HEIGHT - count * LANE) / 2;
  return (
    <svg
      class="mini"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {placed.map(({ lane, start, end, bar: [, , kind, barState] }, number) => (
        <rect
          key={number}
          class={`mini-${barState}`}
          x={start}
          y={top + lane * LANE}
          width={Math.max(end - start, 8)}
          height={LANE - 1}
          fill={kindColour(kind)}
        />
      ))}
      {state === "running" && (
        <rect class="mini-now" x={WIDTH - 8} y={0} width={8} height={HEIGHT} />
      )}
    </svg>
  );
}
