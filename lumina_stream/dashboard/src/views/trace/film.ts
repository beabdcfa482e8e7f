// The replay: which moment of the trace's own events is shown, and how time goes on while it plays.

import type { TraceEvents } from "../../model/replay";
import type { Tree } from "../../model/tree";
import type { LiveTrace } from "../../net/trace";
import { Atom } from "../../state/atom";

export const SPEEDS = [0.25, 1, 4, 16, 64] as const;
/** A pause in which nothing happens takes no longer on the screen, ms. */
const LONGEST_PAUSE_MS = 1500;

export type FilmState = "off" | "loading" | "paused" | "playing";

export class Film {
  readonly state = new Atom<FilmState>("off");
  /** How many events are here while they are loaded. */
  readonly loaded = new Atom(0);
  readonly failed = new Atom("");
  /** How many events have happened at the moment that is shown. */
  readonly position = new Atom(0);
  readonly speed = new Atom<number>(1);
  events: TraceEvents | null = null;
  /** The moment that the page itself has written into the address: it is not to be gone back to. */
  written: string | null = null;
  /** The moment: ns since the base of the events. */
  time = 0;
  /** The tree as it was then; null while the present is shown. */
  tree: Tree | null = null;
  private playedMs = 0;
  private loading: AbortController | null = null;

  constructor(private readonly live: LiveTrace) {}

  get isOn(): boolean {
    return this.tree !== null;
  }

  /** Show the moment after the first `count` events, once they are here. Infinity: after all. */
  async show(count: number): Promise<void> {
    if (this.loading) return;
    if (!this.events) {
      const loading = (this.loading = new AbortController());
      this.failed.set("");
      this.state.set("loading");
      const found = await this.load(loading.signal);
      if (loading.signal.aborted) return; // back to now meanwhile
      this.loading = null;
      this.events = found;
    }
    if (!this.events) return this.state.set("off");
    this.state.set("paused");
    this.seek(count);
  }

  private async load(signal: AbortSignal): Promise<TraceEvents | null> {
    try {
      return await this.live.events((facts) => this.loaded.set(facts), signal);
    } catch (error) {
      if (!signal.aborted) this.failed.set(error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  /** Go to the moment after the first `count` events. */
  seek(count: number): void {
    const { events } = this;
    if (!events) return;
    const at = Math.min(Math.max(0, Math.round(count)), events.count);
    this.time = at > 0 ? events.timeAt(at - 1) : 0;
    this.place(at);
  }

  play(): void {
    if (!this.events || this.events.count === 0) return;
    if (this.position.get() >= this.events.count) this.seek(0);
    this.playedMs = NaN;
    this.state.set("playing");
  }

  pause(): void {
    if (this.state.get() === "playing") this.state.set("paused");
  }

  /** Back to now. The events are let go of: there may be more of them the next time. */
  stop(): void {
    this.loading?.abort();
    this.loading = null;
    this.events = null;
    this.tree = null;
    this.loaded.set(0);
    this.position.set(0);
    this.state.set("off");
  }

  /** Let time go on as far as it has on the screen. */
  advance(ms: number): void {
    const { events } = this;
    if (!events || this.state.get() !== "playing") return;
    const speed = this.speed.get();
    if (this.playedMs === this.playedMs) this.time += Math.max(0, ms - this.playedMs) * 1e6 * speed;
    this.playedMs = ms;
    const at = this.position.get();
    if (at < events.count) {
      const pause = LONGEST_PAUSE_MS * 1e6 * speed;
      this.time = Math.max(this.time, events.timeAt(at) - pause);
    }
    this.place(events.countAt(this.time));
    if (this.position.get() >= events.count) this.state.set("paused");
  }

  private place(count: number): void {
    this.tree = this.events!.treeAt(count);
    this.position.set(count);
  }
}
