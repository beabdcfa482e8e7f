// What a page says when it has nothing to show: one sentence, one action.

import type { ComponentChildren } from "preact";

import { clock } from "../model/format";
import { Copy } from "./copy";

/** `action` is the one thing that helps. */
export function Notice({
  title,
  children,
  action,
}: {
  title: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}) {
  return (
    <div class="notice">
      <h2>{title}</h2>
      {children && <p class="muted">{children}</p>}
      {action}
    </div>
  );
}

/** What is shown where the relay wants no more of this page. */
export function Refused({ reason }: { reason: string }) {
  return (
    <main>
      <Notice
        title="The relay does not serve this page."
        action={
          <button type="button" class="bordered" onClick={() => location.reload()}>
            Reload
          </button>
        }
      >
        {reason}
      </Notice>
    </main>
  );
}

/** A line above what was there when the relay was last heard. */
export function Lost({ asOfNs }: { asOfNs: number }) {
  return (
    <div class="strip" role="status">
      <span>
        The relay does not answer. What you see is as of {clock(asOfNs)}; it goes on by itself.
      </span>
      <button type="button" class="bordered" onClick={() => location.reload()}>
        Reload
      </button>
    </div>
  );
}

/** The page of a relay that has seen no trace: three lines get the first one in. */
export function FirstTrace() {
  const relay = relayAddress();
  const lines = [
    "import lumina_stream as lumina",
    `lumina.init(service_name="my-app", endpoint="${relay}")`,
    'with lumina.trace("hello", question="Does it work?"): print("traced")',
  ];
  return (
    <div class="notice first">
      <h2>Waiting for the first trace</h2>
      <p class="muted">Three lines of Python get it here:</p>
      <div class="snippet">
        <pre tabIndex={0} aria-label="Three lines of Python">
          {lines.map((line) => (
            <code key={line}>{`${line}\n`}</code>
          ))}
        </pre>
        <Copy text={() => `${lines.join("\n")}\n`} label="the three lines" />
      </div>
      <p class="muted">
        Or run a program of yours as it is, and see the models and tools that it calls:
      </p>
      <Line
        text={`lumina-stream run --instrument --url ${relay} -- python app.py`}
        label="the command"
      />
      <p class="muted">Or point any program with OpenTelemetry here:</p>
      <Line text={`OTEL_EXPORTER_OTLP_ENDPOINT=${relay}`} label="the variable" />
    </div>
  );
}

function Line({ text, label }: { text: string; label: string }) {
  return (
    <div class="snippet">
      <pre tabIndex={0} aria-label={label}>
        <code>{text}</code>
      </pre>
      <Copy text={() => text} label={label} />
    </div>
  );
}

/** The address that this page came from, as programs reach the relay: also below a proxy's path. */
function relayAddress(): string {
  return new URL(".", location.href).href.replace(/\/$/, "");
}
