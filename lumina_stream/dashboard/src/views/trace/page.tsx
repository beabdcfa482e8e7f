// The trace page: its parts, and what is shown while there is no trace to show.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { count } from "../../model/format";
import { NONE } from "../../model/tree";
import { LiveTrace } from "../../net/trace";
import { useAtom } from "../../state/atom";
import { route } from "../../state/route";
import type { View } from "../../state/route";
import { useConnection } from "../connection";
import { Lost, Notice, Refused } from "../empty";
import { listHref } from "../filter_box";
import { SpanPanel } from "../panel/panel";
import { cut } from "./canvas";
import { FlameView } from "./flame";
import { Head } from "./head";
import { useKeyboard } from "./keyboard";
import { LogView } from "./log";
import { MergedView } from "./merged";
import { Replay } from "./replay";
import { Sight } from "./sight";
import { RangeBox, StatisticsView } from "./statistics";
import { Strip } from "./strip";
import { Tools } from "./tools";
import { Waterfall } from "./waterfall";
import "./trace.css";

const NARROW = "(max-width: 1100px)";

export function TracePage({ traceId }: { traceId: string }) {
  const live = useMemo(() => new LiveTrace(traceId), [traceId]);
  const sight = useMemo(() => new Sight(live), [live]);
  useEffect(
    () => () => {
      sight.close();
      live.close();
    },
    [sight, live],
  );
  useConnection(live);
  const status = useAtom(live.status);
  const refusal = useAtom(live.refusal);
  const hasSpans = useHasSpans(sight);
  if (status === "refused") return <Refused reason={refusal} />;
  if (!hasSpans) return <Waiting live={live} />;
  return <Shown sight={sight} />;
}

/** Whether there is anything to show; what was there once stays through a reconnection, unless it
 *  is gone for good. */
function useHasSpans(sight: Sight): boolean {
  const [has, setHas] = useState(sight.live.tree.count > 0);
  useEffect(() => {
    const look = () => {
      if (sight.live.tree.count > 0) setHas(true);
      else if (sight.live.status.get() === "missing") setHas(false);
    };
    look();
    return sight.live.changed.watch(look);
  }, [sight]);
  return has;
}

function Waiting({ live }: { live: LiveTrace }) {
  const status = useAtom(live.status);
  if (status !== "missing") return <Connecting />;
  return (
    <main class="trace-page">
      <Notice
        title="There is no such trace here."
        action={
          <a class="action is-bordered" href={listHref()}>
            Show all traces
          </a>
        }
      >
        It may have been deleted, too long ago, or not begun yet: this page shows it as soon as it
        does.
      </Notice>
    </main>
  );
}

function Connecting() {
  // Mostly it is there before it could be read.
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 400);
    return () => clearTimeout(timer);
  }, []);
  return <main class="trace-page">{isLate && <Notice title="Connecting to the relay…" />}</main>;
}

function Shown({ sight }: { sight: Sight }) {
  const at = useAtom(route);
  const view: View = at.page === "trace" ? at.view : "waterfall";
  const isNarrow = useNarrow();
  const isLost = useAtom(sight.live.status) === "reconnecting";
  useSelection(sight, at.page === "trace" ? at.span : null);
  useMoment(sight, at.page === "trace" ? at.at : null);
  useKeyboard(sight, view);
  useEffect(() => {
    document.documentElement.dataset.view = view;
    sight.pointed.set(null);
    sight.touch();
    return () => void delete document.documentElement.dataset.view;
  }, [view, sight]);
  const isTimed = view === "waterfall" || view === "flame";
  return (
    <main class={`trace-page${isLost ? " is-stale" : ""}`}>
      {isLost && <Lost asOfNs={sight.live.nowNs()} />}
      <Head sight={sight} />
      <Tools sight={sight} view={view} />
      <Progress sight={sight} />
      <div class="trace-body">
        <div class="trace-main">
          {isTimed && <Strip sight={sight} />}
          {view === "waterfall" && <Waterfall sight={sight} isNarrow={isNarrow} />}
          {view === "flame" && <FlameView sight={sight} />}
          {view === "merged" && <MergedView sight={sight} />}
          {view === "statistics" && <StatisticsView sight={sight} />}
          {view === "log" && <LogView sight={sight} />}
          {isTimed && <RangeBox sight={sight} />}
        </div>
        {(view === "flame" || view === "merged") && <Selected sight={sight} />}
        <Panel sight={sight} />
      </div>
      <Replay sight={sight} />
    </main>
  );
}

function useNarrow(): boolean {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const query = matchMedia(NARROW);
    const look = () => setNarrow(query.matches);
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, []);
  return isNarrow;
}

/** Follow the address: a span that was not selected here is gone to. */
function useSelection(sight: Sight, span: string | null): void {
  useEffect(() => {
    if (span === sight.selected.get()) return;
    sight.selected.set(span);
    if (span !== null) sight.reveal(span);
  }, [sight, span]);
}

function useMoment(sight: Sight, at: string | null): void {
  const isFirst = useRef(true);
  useEffect(() => {
    const { film } = sight;
    if (at === null) {
      if (!isFirst.current && film.state.get() === "paused") film.stop();
    } else if ((at !== film.written || !film.isOn) && /^\d+$/.test(at)) {
      void film.show(Number(at));
    }
    isFirst.current = false;
  }, [sight, at]);
}

/** Which span the keys went to, for those who do not see the boxes. */
function Selected({ sight }: { sight: Sight }) {
  const selected = useAtom(sight.selected);
  const i = selected === null ? NONE : sight.span;
  const said = i === NONE ? "" : `${cut(sight.tree.name(i), 200)}, ${sight.tree.state(i)}`;
  return (
    <span class="visually-hidden" role="status">
      {said}
    </span>
  );
}

/** How much of a large trace is here. */
function Progress({ sight }: { sight: Sight }) {
  const progress = useAtom(sight.live.progress);
  const { tree } = sight.live;
  if (progress >= 1 || tree.total <= tree.count) return <div class="progress" />;
  const said = `${count(tree.count)} of ${count(tree.total)} spans`;
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label="Loading"
      aria-valuenow={Math.round(progress * 100)}
      aria-valuetext={said}
    >
      <div class="progress-bar" style={{ width: `${progress * 100}%` }} />
      <span class="progress-said">{said}</span>
    </div>
  );
}

function Panel({ sight }: { sight: Sight }) {
  const selected = useAtom(sight.selected);
  useAtom(sight.film.position);
  useKnown(sight, selected);
  const { film, live } = sight;
  if (selected === null) {
    return null;
  }
  const i = sight.tree.find(selected);
  const at =
    film.events && film.tree
      ? {
          tree: film.tree,
          detail: film.events.detailAt(selected, film.position.get()),
          nowNs: film.time + film.tree.baseNs,
        }
      : undefined;
  return (
    <aside class="panel-box" aria-label="Selected span">
      {i === NONE ? <Unknown id={selected} /> : <SpanPanel live={live} span={i} at={at} />}
    </aside>
  );
}

/** Draw again when a span that is not known yet has come. */
function useKnown(sight: Sight, id: string | null): void {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (id === null || sight.tree.find(id) !== NONE) return;
    const stop = sight.live.changed.watch(() => {
      if (sight.tree.find(id) === NONE) return;
      stop();
      redraw((n) => n + 1);
    });
    return stop;
  }, [sight, id]);
}

function Unknown({ id }: { id: string }) {
  return <p class="panel-unknown muted">Span {id} is not part of what is here.</p>;
}
