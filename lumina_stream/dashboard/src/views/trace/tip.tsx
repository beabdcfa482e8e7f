// What is under the pointer, in words, beside it and without delay. The span panel says the same and
// more, to everyone.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";

import { clock as timeOfDay, count, duration } from "../../model/format";
import { LOSS } from "../../model/rows";
import { durationOf, selfTime } from "../../model/times";
import { INTERRUPTED, MISSING, NONE } from "../../model/tree";
import { cut } from "./canvas";
import { figuresOf } from "./dense";
import type { Frame, Sight } from "./sight";

/** Names and values; the first one is the title. */
type About = [name: string, value: string][];

const MOST_TITLE = 300;
const OFFSET = 14;

type Props = {
  sight: Sight;
  canvas: RefObject<HTMLCanvasElement | null>;
  /** What a box is about, where boxes are not spans. */
  about?: (box: number) => About;
};

export function Tip({ sight, canvas, about }: Props) {
  const [shown, show] = useState<About | null>(null);
  const tip = useRef<HTMLDivElement>(null);
  const place = useMemo(() => new Place(sight, tip, canvas), [sight]);
  useEffect(() => {
    let key = "";
    return sight.paint((frame) => {
      const pointed = sight.pointed.get();
      const found = pointed && pointed.x === pointed.x ? find(sight, frame, about) : null;
      const now = JSON.stringify(found);
      if (now !== key) {
        key = now;
        show(found);
      }
      place.put();
      return false;
    });
  }, [sight, about === undefined]);
  useLayoutEffect(() => place.watch(), [place, shown === null]);
  if (!shown) return null;
  const [[, title], ...rest] = shown;
  return (
    <div class="tip" ref={tip} aria-hidden="true">
      <div class="tip-title" dir="auto">
        {cut(title, MOST_TITLE)}
      </div>
      <dl>
        {rest.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

/** Where the tip is: beside the pointer, inside of the canvas. What is measured is measured when a size
 *  has changed and the layout is done; in a frame it would have all that the frame changes laid out once more. */
class Place {
  private size = { width: 0, height: 0 };
  private area = { left: 0, width: 0, height: 0 };

  constructor(
    private readonly sight: Sight,
    private readonly tip: RefObject<HTMLDivElement | null>,
    private readonly canvas: RefObject<HTMLCanvasElement | null>,
  ) {}

  /** Follow the sizes of the tip that is shown now and of the canvas; return how to stop that. */
  watch(): (() => void) | undefined {
    const element = this.tip.current;
    const area = this.canvas.current;
    if (!element || !area) return undefined;
    const observer = new ResizeObserver(() => {
      this.size = { width: element.offsetWidth, height: element.offsetHeight };
      const { offsetLeft: left, clientWidth: width, clientHeight: height } = area;
      this.area = { left, width, height };
      this.put();
    });
    observer.observe(element);
    observer.observe(area);
    return () => observer.disconnect();
  }

  put(): void {
    const element = this.tip.current;
    const pointed = this.sight.pointed.get();
    if (!element || !pointed || Number.isNaN(pointed.x)) return;
    const { size, area } = this;
    const beside = (at: number, own: number, room: number) =>
      at + OFFSET + own <= room ? at + OFFSET : Math.max(0, at - OFFSET - own);
    const left = beside(pointed.x, size.width, area.width);
    const top = beside(pointed.y, size.height, area.height);
    element.style.transform = `translate(${area.left + left}px, ${top}px)`;
  }
}

function find(sight: Sight, frame: Frame, about?: (box: number) => About): About | null {
  const { row, box } = sight.pointed.get()!;
  if (box !== NONE) return about ? about(box) : aboutSpan(frame, box);
  if (row === NONE || row >= sight.rows.count) return null;
  const fold = sight.rows.fold[row];
  if (fold === LOSS) return aboutLosses(frame);
  if (fold < 0) return aboutSpan(frame, sight.rows.span[row]);
  const of = figuresOf(sight, frame, fold);
  return [
    ["", frame.tree.name(sight.rows.span[row]) || "(no name)"],
    ["Spans", count(of.count) + (of.running ? `, ${count(of.running)} running` : "")],
    ["p50", duration(of.p50)],
    ["p95", duration(of.p95)],
    ...(of.errors ? ([["Errors", count(of.errors)]] as About) : []),
  ];
}

function aboutSpan({ tree, clock, zero }: Frame, i: number): About | null {
  if (i >= tree.count) return null;
  const state = tree.stateCode(i);
  if (state === MISSING)
    return [
      ["", tree.name(i) || `span ${tree.id(i)}`],
      ["State", "has not started"],
    ];
  const service = tree.service(i);
  const parent = tree.parent[i];
  const early = parent === NONE ? 0 : tree.start[parent] - tree.start[i];
  const said: About = [["", tree.name(i) || "(no name)"]];
  said.push(["Duration", duration(durationOf(tree, i, clock))]);
  // Of a million children the sum would take its time at each move of the pointer.
  if (tree.childCount[i] > 0 && tree.childCount[i] <= 100_000)
    said.push(["Self", duration(selfTime(tree, i, clock))]);
  const start = tree.start[i] - zero;
  said.push(["Start", `${start < 0 ? "" : "+"}${duration(start)}`]);
  const seen =
    state === INTERRUPTED ? `, last seen ${timeOfDay(tree.baseNs + tree.lastSeen(i))}` : "";
  said.push(["State", tree.state(i) + seen]);
  if (tree.kind(i)) said.push(["Kind", cut(tree.kind(i), 60)]);
  if (service) said.push(["Service", cut(service, 60)]);
  if (early > 0) said.push(["Clock", `${duration(early)} before its parent`]);
  return said;
}

function aboutLosses({ tree }: Frame): About {
  const reasons = new Map<string, number>();
  for (const { reason, count: n } of tree.losses)
    reasons.set(reason, (reasons.get(reason) ?? 0) + n);
  return [
    ["", `${count(tree.lostCount)} events lost`],
    ...[...reasons].map(([reason, n]): [string, string] => [reason, count(n)]),
  ];
}
