// The flame graph by time.

import { useEffect, useMemo, useRef } from "preact/hooks";

import { fromPx } from "../../model/axis";
import { Flame } from "../../model/flame";
import { kindGroup } from "../../model/kinds";
import { Paced } from "../../model/paced";
import {
  ABANDONED,
  CANCELLED,
  ERROR,
  INTERRUPTED,
  MISSING,
  NONE,
  RUNNING,
  UNENDED,
} from "../../model/tree";
import type { Tree } from "../../model/tree";
import { BOX, drawBoxes } from "./flames";
import type { Look } from "./flames";
import { palette } from "./palette";
import { Scroll } from "./scroll";
import { AXIS, BELOW } from "./sight";
import type { Sight } from "./sight";
import { useStage } from "./stage";
import { drawBehind, drawOver } from "./timeline";
import { Tip } from "./tip";
import { fitSpan, select } from "./walk";

export function FlameView({ sight }: { sight: Sight }) {
  const box = useRef<HTMLDivElement>(null);
  const space = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useMemo(
    () => ({
      flame: new Flame(),
      paced: new Paced(),
      scroll: new Scroll(),
      tree: null as Tree | null,
    }),
    [sight],
  );
  const { flame, paced, scroll } = held;

  const boxAt = (x: number, y: number, scale: { from: number; to: number; width: number }) => {
    if (y < AXIS) return NONE;
    const row = Math.floor((y - AXIS + scroll.top) / BOX);
    const now = sight.clock(performance.now()).now;
    return flame.at(row, fromPx(scale, x), now, (scale.to - scale.from) / scale.width);
  };
  // What the keys went to comes into view.
  useEffect(() => {
    const show = () => {
      const i = sight.span;
      if (i !== NONE && flame.has(i))
        scroll.reveal(flame.row[i] * BOX, (flame.row[i] + 1) * BOX + AXIS, BOX * 2);
    };
    const soon = requestAnimationFrame(() => requestAnimationFrame(show)); // once it is laid out
    const stop = sight.selected.watch(show);
    return () => {
      cancelAnimationFrame(soon);
      stop();
    };
  }, [sight]);

  useStage({
    sight,
    axis: sight.axis,
    scroll,
    box,
    space,
    canvas,
    content: () => flame.rows * BOX + AXIS + BELOW,
    draw: (pen, scale, height, frame) => {
      const { tree, clock } = frame;
      const isOther = held.tree !== tree;
      const work = () => {
        held.tree = tree;
        tree.settle();
        flame.build(tree, clock);
      };
      paced.run(`${tree.version} ${tree.count}`, () => performance.now(), work, isOther);
      if (isOther && held.tree !== tree) work();
      if (paced.isStale) sight.touch();
      scroll.resize(flame.rows * BOX + AXIS + BELOW, scroll.seen);
      pen.fillStyle = palette().background;
      pen.fillRect(0, 0, scale.width, height);
      drawBehind(pen, scale, height, sight, frame);
      const pointed = sight.pointed.get()?.box ?? NONE;
      const special = { selected: sight.span, pointed };
      const isOpen = drawBoxes(
        pen,
        flame,
        scale,
        height,
        scroll.top,
        clock.now,
        lookOf(sight, tree),
        special,
      );
      return drawOver(pen, scale, height, sight, frame) || isOpen;
    },
    point: (place) => {
      const { x, y } = place ?? { x: 0, y: 0 };
      sight.pointed.set(
        place && { row: NONE, box: boxAt(x, y, place.scale), at: fromPx(place.scale, x), x, y },
      );
    },
    pick: (x, y, scale, isTwice) => {
      const i = boxAt(x, y, scale);
      if (i === NONE) return;
      if (isTwice) fitSpan(sight, i);
      else select(sight, sight.tree.id(i));
    },
    mark: (from, to) => sight.range.set({ from, to }),
  });

  return (
    <div class="stage" ref={box}>
      <div class="stage-sheet">
        <canvas
          ref={canvas}
          class="stage-canvas focus-inside"
          tabIndex={0}
          role="img"
          aria-label="Flame graph by time. The arrow keys go from span to span; the waterfall has the same spans as a tree."
        />
        <Tip sight={sight} canvas={canvas} />
      </div>
      <div ref={space} />
    </div>
  );
}

function lookOf(sight: Sight, tree: Tree): (i: number, look: Look) => void {
  const matches = sight.matches.get();
  const { path } = sight;
  return (i, look) => {
    const state = i < tree.count ? tree.stateCode(i) : MISSING;
    look.name =
      i < tree.count ? tree.name(i) || (state === MISSING ? "has not started" : "(no name)") : "";
    look.kind = kindGroup(i < tree.count ? tree.kind(i) : "");
    look.isError = state === ERROR;
    look.isOpen = state === RUNNING;
    look.isFaint = state === CANCELLED || state === ABANDONED || state === MISSING;
    look.isHatched = state === INTERRUPTED;
    look.isDashed = state === UNENDED || state === MISSING;
    look.isDim = matches ? !matches.has(i) : path !== null && !path.has(i);
  };
}
