// How it goes, in five figures: of the traces that the filter selects and that began lately.

import type { LiveList } from "../net/list";
import { UNKNOWN, count, duration } from "../model/format";
import { useAtom } from "../state/atom";

export function Rates({ list }: { list: LiveList }) {
  const rates = useAtom(list.rates);
  const { total } = useAtom(list.running);
  const minutes = Math.round((rates?.window_s ?? 300) / 60);
  return (
    <section class="rates" aria-label={`Rates of the last ${minutes} minutes`}>
      <Figure value={rates ? perMinute(rates.traces_per_min) : UNKNOWN} label="traces/min" />
      <Figure
        value={rates?.error_share != null ? share(rates.error_share) : UNKNOWN}
        label="errors"
        wrong={(rates?.errors ?? 0) > 0}
      />
      <Figure value={rates?.p50_ns != null ? duration(rates.p50_ns) : UNKNOWN} label="p50" />
      <Figure value={rates?.p95_ns != null ? duration(rates.p95_ns) : UNKNOWN} label="p95" />
      <Figure value={count(total)} label="running now" />
      <span class="secondary rates-window">last {minutes} minutes</span>
    </section>
  );
}

function Figure({ value, label, wrong }: { value: string; label: string; wrong?: boolean }) {
  return (
    <span class="figure">
      <span class={`hero ${wrong ? "wrong" : value === UNKNOWN ? "muted" : ""}`}>{value}</span>{" "}
      <span class="secondary">{label}</span>
    </span>
  );
}

function perMinute(rate: number): string {
  return rate >= 100 ? count(Math.round(rate)) : String(Number(rate.toPrecision(3)));
}

function share(part: number): string {
  const percent = part * 100;
  return `${percent > 0 && percent < 0.1 ? "<0.1" : Number(percent.toPrecision(3))} %`;
}
