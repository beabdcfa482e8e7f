// The first page: what runs now, how it goes, and every trace, newest first.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { parse } from "../model/filter";
import { LiveList } from "../net/list";
import { useAtom } from "../state/atom";
import { go } from "../state/route";
import { useConnection } from "./connection";
import { FirstTrace, Lost, Notice, Refused } from "./empty";
import { Rates } from "./rates";
import { Running } from "./running";
import { TraceTable } from "./table";

export function ListPage({ q }: { q: string }) {
  const [list] = useState(() => new LiveList(parse(q).filter));
  const asked = useRef(q);
  useEffect(() => () => list.close(), [list]);
  useEffect(() => {
    if (asked.current !== q) list.setFilter(parse(q).filter);
    asked.current = q;
  }, [list, q]);
  useConnection(list);
  const status = useAtom(list.status);
  useEffect(() => {
    document.title = q ? `${q} – lumina-stream` : "lumina-stream";
  }, [q]);
  const refusal = useAtom(list.refusal);
  if (status === "refused") return <Refused reason={refusal} />;
  return (
    <main class="list-page">
      <h1 class="visually-hidden">Traces</h1>
      <Content list={list} q={q} />
    </main>
  );
}

function Content({ list, q }: { list: LiveList; q: string }) {
  const status = useAtom(list.status);
  const isBlank = useAtom(list.traces).length === 0 && !q;
  const isStill = useAtom(list.running).total === 0;
  const nowNs = () => list.nowNs();
  if (isBlank && isStill && status === "loading") return <Connecting />;
  return (
    <>
      {status === "reconnecting" && <Lost asOfNs={nowNs()} />}
      {isBlank && isStill ? (
        <FirstTrace />
      ) : (
        <div class={`list-parts ${status === "live" ? "" : "is-stale"}`}>
          <Rates list={list} />
          <Running list={list} nowNs={nowNs} />
          <Traces list={list} nowNs={nowNs} q={q} />
        </div>
      )}
    </>
  );
}

function Traces({ list, nowNs, q }: { list: LiveList; nowNs: () => number; q: string }) {
  const traces = useAtom(list.traces);
  const status = useAtom(list.status);
  const { errors } = useMemo(() => parse(q), [q]);
  if (traces.length > 0) return <TraceTable list={list} nowNs={nowNs} traces={traces} />;
  if (errors.length > 0)
    return <Nothing title="The filter cannot be read." text={errors[0].message} />;
  if (q && status !== "loading") return <Nothing title="No trace matches." text={q} />;
  return <div class="notice" />;
}

function Nothing({ title, text }: { title: string; text: string }) {
  const clear = () => go({ page: "list", q: "" });
  return (
    <Notice
      title={title}
      action={
        <button type="button" class="bordered" onClick={clear}>
          Show all traces
        </button>
      }
    >
      <code>{text}</code>
    </Notice>
  );
}

/** A page that is there at once says nothing; a slow one says what it waits for. */
const PATIENCE_MS = 300;

function Connecting() {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, []);
  return isLate ? <Notice title="Connecting to the relay…" /> : <div class="notice" />;
}
