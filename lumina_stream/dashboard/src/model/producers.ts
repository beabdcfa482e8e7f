// What is known of each producer: alive, lost or ended. Order-free, as the tree is; the rules are
// those of model/producers.py.

/** Producer ids of OpenTelemetry resources: their spans come as copies, which may come again. */
const IMPORTED_PREFIX = "+otlp-";

export type Fate = "alive" | "lost" | "ended";

export class Producer {
  fate: Fate = "alive";
  /** ns since the tree's base; NaN unless it is lost. */
  lastSeen = NaN;
  service = "";
  readonly imported: boolean;
  /** Spans that it started, and those of them that have not ended. */
  started = 0;
  unended = 0;
  // The stamps that decided fate and name; -Infinity: none yet.
  fateTime = -Infinity;
  fateBy = "";
  fateSeq = 0;
  namedTime = -Infinity;
  namedBy = "";
  namedSeq = 0;

  constructor(readonly id: string) {
    this.imported = id.startsWith(IMPORTED_PREFIX);
  }

  /** Take in what became of it; tell whether that changes anything. */
  setFate(fate: Fate, lastSeen: number, time: number, by: string, seq: number): boolean {
    if (!isLater(time, by, seq, this.fateTime, this.fateBy, this.fateSeq)) return false;
    this.fateTime = time;
    this.fateBy = by;
    this.fateSeq = seq;
    const changed = this.fate !== fate || !Object.is(this.lastSeen, lastSeen);
    this.fate = fate;
    this.lastSeen = lastSeen;
    return changed;
  }

  /** Take in what it calls itself; tell whether that changes anything. */
  setService(service: string, time: number, by: string, seq: number): boolean {
    if (!isLater(time, by, seq, this.namedTime, this.namedBy, this.namedSeq)) return false;
    this.namedTime = time;
    this.namedBy = by;
    this.namedSeq = seq;
    const changed = this.service !== service;
    this.service = service;
    return changed;
  }

  clone(): Producer {
    return Object.assign(new Producer(this.id), this);
  }
}

/** Tell whether the first stamp wins over the second. */
export function isLater(
  time: number,
  by: string,
  seq: number,
  thanTime: number,
  thanBy: string,
  thanSeq: number,
): boolean {
  if (time !== thanTime) return time > thanTime;
  if (by !== thanBy) return by > thanBy;
  return seq > thanSeq;
}
