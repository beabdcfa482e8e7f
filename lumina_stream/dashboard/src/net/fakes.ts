// A browser for the tests of this folder: sockets, answers and frames that a test hands out by
// hand.

import { vi } from "vitest";

export class FakeSocket {
  static all: FakeSocket[] = [];
  static get latest(): FakeSocket {
    return FakeSocket.all[FakeSocket.all.length - 1];
  }

  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly sent: string[] = [];
  isClosed = false;

  constructor(
    readonly address: string,
    readonly protocol: string,
  ) {
    FakeSocket.all.push(this);
  }

  get subscribed(): Record<string, unknown> {
    return JSON.parse(this.sent[0]) as Record<string, unknown>;
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.isClosed = true;
  }

  // What the other side does.
  open(): this {
    this.onopen?.();
    return this;
  }

  say(...frames: object[]): this {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    return this;
  }

  end(code = 1006, reason = ""): void {
    this.onclose?.({ code, reason });
  }
}

type Answer = { status: number; body: unknown };
export type Asked = { path: string; method: string; body: unknown };

const listeners = new Map<string, Set<() => void>>();

export const page = {
  hidden: false,
  baseURI: "https://host.example/below/#/trace/x",
  asked: [] as Asked[],
  /** What is answered, by the beginning of the path; 404 else. */
  answers: new Map<string, Answer | Error>(),
  paints: [] as (() => void)[],
  fire(name: string): void {
    for (const listener of [...(listeners.get(name) ?? [])]) listener();
  },
  /** One animation frame. */
  paint(): void {
    for (const paint of page.paints.splice(0)) paint();
  },
  get listenerCount(): number {
    return [...listeners.values()].reduce((sum, all) => sum + all.size, 0);
  },
};

export function installBrowser(): void {
  FakeSocket.all = [];
  page.hidden = false;
  page.asked = [];
  page.answers = new Map();
  page.paints = [];
  listeners.clear();
  const addEventListener = (name: string, listener: () => void) => {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name)?.add(listener);
  };
  const removeEventListener = (name: string, listener: () => void) =>
    void listeners.get(name)?.delete(listener);
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance", "Date"],
  });
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("addEventListener", addEventListener);
  vi.stubGlobal("removeEventListener", removeEventListener);
  vi.stubGlobal("document", {
    get hidden() {
      return page.hidden;
    },
    get baseURI() {
      return page.baseURI;
    },
    addEventListener,
    removeEventListener,
  });
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    page.asked.push({ path, method: init.method ?? "GET", body: init.body });
    const found = [...page.answers].find(([beginning]) => path.startsWith(beginning))?.[1];
    await Promise.resolve();
    if (init.signal?.aborted) throw init.signal.reason;
    if (found instanceof Error) throw found;
    const { status, body } = found ?? { status: 404, body: { error: "no such thing" } };
    return { ok: status < 400, status, statusText: "", json: async () => body };
  });
}

/** Let promises go on. */
export async function settle(): Promise<void> {
  for (let n = 0; n < 20; n++) await Promise.resolve();
}
