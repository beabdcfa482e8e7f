// The flame graph by name: where time, tokens or cost go.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Axis, fromPx } from "../../model/axis";
import type { Scale } from "../../model/axis";
import { cost, count, duration, tokens } from "../../model/format";
import { kindGroup } from "../../model/kinds";
import { Merged, WEIGHTS, WIDTH } from "../../model/merged";
import type { Weight } from "../../model/merged";
import { Paced } from "../../model/paced";
import { NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";
import { Atom, useAtom } from "../../state/atom";
import { BOX, drawBoxes } from "./flames";
import type { Look } from "./flames";
import { palette } from "./palette";
import { Scroll } from "./scroll";
import { AXIS, BELOW } from "./sight";
import type { Frame, Sight } from "./sight";
import { useStage } from "./stage";
import { Tip } from "./tip";
import { select } from "./walk";

const SAID: Record<Weight, string> = { time: "Time", tokens: "Tokens", cost: "Cost" };

class Held {
  readonly merged = new Merged();
  readonly paced = new Paced();
  readonly scroll = new Scroll();
  readonly axis = new Axis();
  readonly sum = new Atom("");
  tree: Tree | null = null;
  laid = "";

  /** Merge and lay anew, as often as there is time for it; open spans weigh more as time goes on. */
  update({ tree, clock, ms, isOpen }: Frame, weight: Weight, touch: () => void): void {
    const tick = isOpen ? Math.floor(ms / 250) : 0;
    const isOther = this.tree !== tree;
    const key = `${weight} ${tree.version} ${tick} ${tree.count} ${isOther ? ms : ""}`;
    this.paced.run(
      key,
      () => performance.now(),
      () => {
        this.tree = tree;
        tree.settle();
        this.merged.build(tree, clock);
        this.merged.lay(weight);
        this.axis.take({ from: 0, to: WIDTH }, ms, false);
        this.laid = weight;
      },
      isOther || this.laid !== weight,
    );
    if (this.paced.isStale) touch();
    this.sum.set(written(this.merged.sum[weight], weight));
  }
}

export function MergedView({ sight }: { sight: Sight }) {
  const box = useRef<HTMLDivElement>(null);
  const space = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [weight, setWeight] = useState<Weight>("time");
  const held = useMemo(() => new Held(), [sight]);
  const { merged, scroll, axis } = held;
  const sum = useAtom(held.sum);

  useEffect(() => {
    sight.moved = axis;
    return () => void (sight.moved = sight.axis);
  }, [sight, axis]);
  useEffect(() => sight.touch(), [weight]);

  const nodeAt = (x: number, y: number, scale: Scale) => {
    if (y < AXIS) return NONE;
    const row = Math.floor((y - AXIS + scroll.top) / BOX);
    return merged.at(row, fromPx(scale, x), Infinity, (scale.to - scale.from) / scale.width / 2);
  };

  useStage({
    sight,
    axis,
    scroll,
    box,
    space,
    canvas,
    content: () => merged.rows * BOX + AXIS + BELOW,
    draw: (pen, scale, height, frame) => {
      held.update(frame, weight, sight.touch);
      scroll.resize(merged.rows * BOX + AXIS + BELOW, scroll.seen);
      pen.fillStyle = palette().background;
      pen.fillRect(0, 0, scale.width, height);
      const pointed = sight.pointed.get()?.box ?? NONE;
      const special = { selected: merged.nodeFor(sight.span), pointed };
      drawBoxes(
        pen,
        merged,
        scale,
        height,
        scroll.top,
        Infinity,
        lookOf(sight, merged, frame.tree),
        special,
      );
      pen.fillStyle = palette().background;
      pen.fillRect(0, 0, scale.width, AXIS);
      pen.fillStyle = palette().line;
      pen.fillRect(0, AXIS - 1, scale.width, 1);
      return frame.isOpen;
    },
    point: (place) => {
      const { x, y } = place ?? { x: 0, y: 0 };
      sight.pointed.set(place && { row: NONE, box: nodeAt(x, y, place.scale), at: NaN, x, y });
    },
    pick: (x, y, scale, isTwice) => {
      const node = nodeAt(x, y, scale);
      if (node === NONE) return;
      if (isTwice) {
        axis.show(
          { from: merged.start[node], to: merged.end[node] },
          performance.now(),
          sight.eased,
        );
        sight.touch();
      } else select(sight, sight.tree.id(merged.longest[node]));
    },
  });

  return (
    <div class="stage" ref={box}>
      <div class="stage-sheet">
        <canvas
          ref={canvas}
          class="stage-canvas focus-inside"
          tabIndex={0}
          role="img"
          aria-label="Flame graph by name. The statistics have the same figures as a table."
        />
        <div class="merged-head">
          <span class="muted" id="weigh">
            Weigh by
          </span>
          <span class="switch" role="group" aria-labelledby="weigh">
            {WEIGHTS.map((each) => (
              <button
                key={each}
                type="button"
                aria-pressed={each === weight}
                onClick={() => setWeight(each)}
              >
                {SAID[each]}
              </button>
            ))}
          </span>
          <span class="merged-sum">{sum} in all</span>
          {weight === "time" && (
            <span class="muted merged-note">time of its own: side by side counts in full</span>
          )}
        </div>
        {merged.sum[weight] === 0 && sum !== "" && weight !== "time" && (
          <p class="merged-none muted">
            No span of this trace has {weight === "cost" ? "a cost" : "tokens"}.
          </p>
        )}
        <Tip
          sight={sight}
          canvas={canvas}
          about={(node) => aboutNode(sight.tree, merged, weight, node)}
        />
      </div>
      <div ref={space} />
    </div>
  );
}

function lookOf(sight: Sight, merged: Merged, tree: Tree): (node: number, look: Look) => void {
  const query = sight.query.get().trim().toLowerCase();
  return (node, look) => {
    look.name = tree.strings[merged.name[node]] || "(no name)";
    look.kind = kindGroup(merged.kind[node] === NONE ? "" : tree.strings[merged.kind[node]]);
    look.isError = merged.errors[node] > 0;
    look.isOpen = look.isFaint = look.isHatched = look.isDashed = false;
    look.isDim = query !== "" && !look.name.toLowerCase().includes(query);
  };
}

function aboutNode(tree: Tree, merged: Merged, weight: Weight, node: number): [string, string][] {
  const total = merged.total[weight][node];
  const share = merged.sum[weight] > 0 ? (total / merged.sum[weight]) * 100 : 0;
  const errors = merged.errors[node];
  return [
    ["", tree.strings[merged.name[node]] || "(no name)"],
    ["Total", `${written(total, weight)}, ${share.toPrecision(3)} %`],
    ["Self", written(merged.self[weight][node], weight)],
    ["Spans", count(merged.spans[node]) + (errors > 0 ? `, ${count(errors)} with errors` : "")],
  ];
}

function written(value: number, weight: Weight): string {
  if (weight === "time") return duration(value);
  return weight === "tokens" ? `${tokens(value)} tokens` : cost(value);
}
