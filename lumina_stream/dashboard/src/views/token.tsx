// The form of a relay that asks for a token: it trades the token for a cookie that no script can
// read.

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, login } from "../net/api";

export function TokenForm() {
  const [said, say] = useState("");
  const [isBusy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const send = async (event: Event) => {
    event.preventDefault();
    const token = input.current?.value.trim() ?? "";
    if (!token || isBusy) return;
    setBusy(true);
    say(await trade(token));
    setBusy(false);
    input.current?.select();
  };
  return (
    <main class="notice">
      <h1>This relay asks for a token</h1>
      <p class="muted">The one that it was started with, or its read token.</p>
      <form class="token" onSubmit={send}>
        <label class="visually-hidden" for="token">
          Token
        </label>
        <input
          ref={input}
          id="token"
          type="password"
          autocomplete="current-password"
          aria-describedby="token-said"
          aria-invalid={said !== ""}
        />
        <button type="submit" class="primary" disabled={isBusy}>
          Open
        </button>
      </form>
      <p id="token-said" class="wrong" role="alert">
        {said}
      </p>
    </main>
  );
}

/** Send the token; what went wrong, or nothing and the page goes on. */
async function trade(token: string): Promise<string> {
  try {
    return (await login(token)) ? "" : "That is not its token.";
  } catch (error) {
    return error instanceof ApiError ? error.message : String(error);
  }
}
