// What a person sees of a trace: the stretch of time, the rows, what is selected and pointed at. The
// views draw from it, and one frame draws them all.
//
// It knows no elements: views register how they paint, and say whether what they drew moves by itself.

import { Axis } from "../../model/axis";
import type { Range } from "../../model/axis";
import type { Path } from "../../model/critical";
import type { Figures } from "../../model/density";
import { Folding } from "../../model/folding";
import { Paced } from "../../model/paced";
import { Rows } from "../../model/rows";
import { Matches, search } from "../../model/search";
import type { Clock } from "../../model/times";
import { ERROR, NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";
import type { LiveTrace } from "../../net/trace";
import { Atom } from "../../state/atom";
import { paintSoon } from "../../state/frames";
import { reducedMotion, theme } from "../../state/settings";
import type { Columns, Counted } from "./dense";
import { Film } from "./film";
import { Newcomers } from "./newcomers";
import { pathOf } from "./path";
import { Present } from "./present";
import type { Frame } from "./present";
import { Scroll } from "./scroll";

export type { Frame } from "./present";

export const ROW = 24;
/** The height of the axis above the rows. */
export const AXIS = 28;
/** Room below the last row. */
export const BELOW = 40;

/** Draw; return whether what was drawn moves as time goes on. */
export type Painter = (frame: Frame) => boolean;

/** Where the pointer is: over which row or box (NONE), at what time, px from the canvas' corner; NaN
 *  where it is over a label. */
export type Pointed = { row: number; box: number; at: number; x: number; y: number };

/** Room for a duration beside a bar, with its gap, px. */
const DURATION_PX = 88;
const CALM_MS = 1000;
/** Which row is brought into view while following changes no more often. */
const FOLLOW_MS = 400;

export class Sight {
  readonly axis = new Axis();
  readonly folding = new Folding();
  readonly rows = new Rows();
  readonly scroll = new Scroll();
  readonly film: Film;

  /** Counts up when rows may have to be drawn again: other rows, another selection. */
  readonly drawn = new Atom(0);
  readonly selected = new Atom<string | null>(null);
  readonly follow = new Atom(true);
  readonly query = new Atom("");
  readonly matches = new Atom<Matches | null>(null);
  readonly isPathOn = new Atom(false);
  /** A stretch of time that was dragged over. */
  readonly range = new Atom<Range | null>(null);
  readonly mark = new Atom<Range | null>(null);
  readonly pointed = new Atom<Pointed | null>(null);
  /** The axis that the keys move: that of time, or another view's own. */
  moved: Axis = this.axis;
  path: Path | null = null;
  /** Count up when rows were laid anew, and when the path is another one. */
  rowsVersion = 0;
  pathVersion = 0;
  /** Density rows' figures are beside their names; else they are beside their bars. */
  hasFigures = true;
  readonly newcomers = new Newcomers();
  /** What density rows show, by their group. */
  readonly figured = new Map<number, Counted<Figures>>();
  readonly densities = new Map<number, Counted<Columns>>();

  private readonly present: Present;
  private readonly painters = new Set<Painter>();
  private readonly pacedRows = new Paced();
  private readonly pacedMatches = new Paced();
  private readonly pacedPath = new Paced();
  private shown: Tree;
  private trees = 0;
  private isDirty = true;
  private isAlive = false;
  private isStale = false;
  private lastPlace = "";
  /** Device pixels across the bars, at most. */
  private across = 4096;
  private lastTick = NaN;
  private calm = 0;
  private later = 0;
  private foldingSeen = 0;
  private followedMs = -Infinity;
  private followed: number = NONE;
  private revealing: string | null = null;
  private askedFor = "";
  private stretches: { path: Path; rowsVersion: number; byRow: Map<number, number[]> } | null =
    null;
  private readonly unwatch: (() => void)[];

  constructor(readonly live: LiveTrace) {
    this.film = new Film(live);
    this.present = new Present(live, this.film, this.axis);
    this.shown = live.tree;
    const atoms: { watch: (watcher: () => void) => () => void }[] = [
      live.changed,
      live.status,
      theme,
      reducedMotion,
      this.film.position,
      this.film.state,
      this.query,
      this.isPathOn,
      this.range,
      this.mark,
      this.selected,
    ];
    this.unwatch = atoms.map((atom) => atom.watch(this.touch));
  }

  close(): void {
    for (const stop of this.unwatch) stop();
    this.painters.clear();
    clearTimeout(this.calm);
    clearTimeout(this.later);
  }

  /** The tree that is shown: the live one, or as it was at a moment of the replay. */
  get tree(): Tree {
    return this.film.tree ?? this.live.tree;
  }

  /** The number of the selected span; NONE. */
  get span(): number {
    const id = this.selected.get();
    return id === null ? NONE : this.tree.find(id);
  }

  /** Paint with each frame that has something new; return how to stop that. */
  paint(painter: Painter): () => void {
    this.painters.add(painter);
    this.touch();
    return () => void this.painters.delete(painter);
  }

  /** Something changed: paint in the next frame. */
  readonly touch = (): void => {
    this.isDirty = true;
    paintSoon(this.frame);
  };

  /** Paint in so many ms: something is not up to date that will be then. */
  touchIn(ms: number): void {
    if (this.later !== 0) return;
    this.later = window.setTimeout(() => {
      this.later = 0;
      this.touch();
    }, ms);
  }

  /** Have a span's row, and its bar, in view as soon as it is there. */
  reveal(id: string): void {
    this.revealing = id;
    this.touch();
  }

  letGo(): void {
    this.axis.follow = false;
    this.follow.set(false);
  }

  setFollow(follow: boolean): void {
    this.axis.follow = follow;
    this.follow.set(follow);
    this.followedMs = -Infinity;
    this.touch();
  }

  /** Say how wide the bars' canvas is: after the end of the trace its duration is written. */
  giveWidth(width: number): void {
    this.across = Math.ceil(width * (devicePixelRatio || 1));
    const margin = Math.min(0.2, DURATION_PX / width);
    if (Math.abs(margin - this.axis.margin) < 0.001) return;
    this.axis.margin = margin;
    this.touch();
  }

  get eased(): boolean {
    return !reducedMotion.get();
  }

  clock(ms: number): Clock {
    return this.present.clock(ms);
  }

  private readonly frame = (ms: number): void => {
    if (this.painters.size === 0) return;
    this.film.advance(ms);
    this.switchTree();
    const frame = this.present.look(ms);
    const moves = this.axis.moves(ms);
    const place = this.placeOf(frame);
    const { tick } = frame;
    const passes = this.isAlive && (place !== this.lastPlace || tick !== this.lastTick);
    if (this.isDirty || moves || passes || this.isStale) {
      this.isDirty = false;
      this.lastPlace = place;
      this.lastTick = tick;
      this.work(frame);
      this.isAlive = false;
      for (const painter of [...this.painters]) if (painter(frame)) this.isAlive = true;
      this.isAlive &&= frame.isOpen;
    }
    if (moves || this.isStale || this.film.state.get() === "playing") paintSoon(this.frame);
    else if (this.isAlive) this.again();
  };

  /** Where now is, in device pixels of what is shown and of the whole: until it is in another one,
   *  what is painted is what would be painted. */
  private placeOf({ clock, view, whole }: Frame): string {
    const at = ({ from, to }: Range) => {
      const share = (clock.now - from) / (to - from);
      return share > 1 ? Infinity : Math.round(share * this.across);
    };
    return `${at(view)} ${at(whole)}`;
  }

  /** Paint again as time goes on: in the next frame, or in a second where that is less motion. */
  private again(): void {
    if (!reducedMotion.get()) return paintSoon(this.frame);
    clearTimeout(this.calm);
    this.calm = window.setTimeout(this.touch, CALM_MS);
  }

  private switchTree(): void {
    const { tree } = this;
    if (tree === this.shown) return;
    if (this.shown.baseNs > 0 && tree.baseNs > 0) {
      const by = this.shown.baseNs - tree.baseNs;
      if (by !== 0) this.shift(by);
    }
    this.folding.carry(this.shown, tree);
    this.shown = tree;
    this.trees++;
    this.newcomers.reset(tree);
    this.followed = NONE;
    this.figured.clear();
    this.densities.clear();
  }

  private shift(by: number): void {
    this.axis.shift(by);
    const moved = (range: Range | null) => range && { from: range.from + by, to: range.to + by };
    this.range.update(moved);
    this.mark.update(moved);
  }

  /** Bring what is made from the tree up to date, as far as there is time for it. */
  private work(frame: Frame): void {
    this.layRows(frame);
    const { tree } = frame;
    const query = this.query.get();
    const shape = `${this.trees} ${tree.shape}`;
    const asked = query.trim() === "" ? "" : `${shape} ${query}`;
    const now = () => performance.now();
    const isTyped = this.matches.get() === null || this.askedFor !== query;
    if (
      this.pacedMatches.run(
        asked,
        now,
        () => this.matches.set(asked ? search(tree, query) : null),
        isTyped,
      )
    ) {
      this.askedFor = query;
    }
    const wanted = this.isPathOn.get() ? `${this.trees} ${tree.version} ${tree.finished}` : "";
    this.pacedPath.run(
      wanted,
      now,
      () => {
        this.path = wanted ? pathOf(tree, frame.clock) : null;
        this.pathVersion++;
      },
      (this.path === null) !== (wanted === ""),
    );
    this.newcomers.expire(frame.ms);
    this.isStale = this.pacedRows.isStale || this.pacedMatches.isStale || this.pacedPath.isStale;
  }

  private layRows(frame: Frame): void {
    const { tree, folding, rows, scroll } = this;
    const revealed = this.takeRevealing(tree);
    const isUrgent = folding.version !== this.foldingSeen;
    const key = `${this.trees} ${tree.shape} ${tree.errorCount} ${tree.losses.length} ${folding.version}`;
    const old = this.pointed.get()?.row ?? Math.floor(scroll.top / ROW);
    const anchor =
      old >= 0 && old < rows.count && (scroll.top > 0 || this.pointed.get())
        ? rows.span[old]
        : NONE;
    const isDone = this.pacedRows.run(
      key,
      () => performance.now(),
      () => {
        tree.settle();
        rows.build(tree, folding);
      },
      isUrgent,
    );
    if (isDone) {
      this.foldingSeen = folding.version;
      this.rowsVersion++;
      const { status } = this.live;
      const isLoading = status.get() === "loading" || tree.total > tree.count || this.film.isOn;
      this.newcomers.look(tree, isLoading, frame.ms);
      scroll.resize(rows.count * ROW + AXIS + BELOW, scroll.seen);
      // The row under the pointer stays there, whatever came above it.
      const row = anchor === NONE || anchor >= tree.count ? NONE : rows.rowFor(tree, anchor);
      if (row !== NONE && row !== old) scroll.to(scroll.top + (row - old) * ROW);
    }
    if (revealed !== NONE) this.showRow(rows.rowFor(tree, revealed));
    else if (this.follow.get() && frame.isOpen) this.followRow(frame);
  }

  private takeRevealing(tree: Tree): number {
    if (this.revealing === null) return NONE;
    const i = tree.find(this.revealing);
    if (i === NONE) return NONE;
    this.revealing = null;
    tree.settle();
    this.folding.reveal(tree, i);
    return i;
  }

  /** Which stretches of the path a row shows. */
  stretchesOf(row: number): readonly number[] | undefined {
    const { path, rowsVersion } = this;
    if (!path) return undefined;
    if (this.stretches?.path !== path || this.stretches.rowsVersion !== rowsVersion) {
      const byRow = new Map<number, number[]>();
      path.span.forEach((span, k) => {
        const at = this.rows.rowFor(this.tree, span);
        const known = byRow.get(at);
        if (known) known.push(k);
        else byRow.set(at, [k]);
      });
      this.stretches = { path, rowsVersion, byRow };
    }
    return this.stretches.byRow.get(row);
  }

  showRow(row: number): void {
    if (row === NONE) return;
    this.scroll.reveal(row * ROW, (row + 1) * ROW + AXIS, ROW * 2);
  }

  /** While following, the span that began last is in view. */
  private followRow({ ms, tree }: Frame): void {
    if (ms - this.followedMs < FOLLOW_MS || this.pointed.get()) return;
    this.followedMs = ms;
    const latest = this.newcomers.latest(tree);
    if (latest === NONE || latest === this.followed) return;
    this.followed = latest;
    this.showRow(this.rows.rowFor(tree, latest));
  }

  /** Whether a span is not what is looked for, nor what is waited for. */
  isFaded(i: number): boolean {
    const matches = this.matches.get();
    if (matches) return !matches.has(i);
    return this.path !== null && !this.path.has(i);
  }

  /** All spans that failed, from the top of the tree to the bottom. */
  errors(): Matches {
    const { tree } = this;
    tree.settle();
    return Matches.of(tree, (i) => tree.status[i] === ERROR);
  }
}
