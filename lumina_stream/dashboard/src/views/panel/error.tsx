// What failed: its type, its message, where.

import type { Detail } from "../../model/detail";
import { Copy } from "../copy";
import { NotHere } from "./attributes";
import { Folded } from "./fold";
import { markText } from "./values";

export function ErrorPart({ detail }: { detail: Detail | undefined }) {
  const error = detail?.error;
  if (!error && !detail?.complete) return <NotHere detail={detail} />;
  if (!error) return <p class="muted part-note">The program said that it failed, and no more.</p>;
  const whole = [[error.type, error.message].filter(Boolean).join(": "), error.stacktrace]
    .filter(Boolean)
    .join("\n\n");
  const said = [...(detail?.marks ?? [])].filter(([path]) => path.startsWith("@error"));
  return (
    <div class="error-part">
      <div class="error-head">
        <h3 class="mono" dir="auto">
          {error.type || "Error"}
        </h3>
        <Copy text={() => whole} label="the error" />
      </div>
      {error.message && <Folded class="error-message" text={error.message} />}
      {said.map(([path, mark]) => (
        <span key={path} class="mark">
          {path.replace(/^@error\.?/, "")}: {markText(mark)}
        </span>
      ))}
      {error.stacktrace && (
        <>
          <h4 class="secondary">Stack trace</h4>
          <pre class="stack" tabIndex={0} aria-label="Stack trace">
            {error.stacktrace}
          </pre>
        </>
      )}
    </div>
  );
}
