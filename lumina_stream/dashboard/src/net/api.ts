// What is asked over HTTP: relative addresses, so that the page also works below a proxy's path.

import { Atom } from "../state/atom";

/** Whether the relay wants a token before it shows anything. */
export const needsToken = new Atom(false);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The JSON at an address below the page's own. Throws `ApiError`, with status 0 where none
 *  answered. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await ask(path, { signal: signal ?? null });
  return (await response.json()) as T;
}

/** Trade a token for a cookie; tell whether the relay took it. */
export async function login(token: string): Promise<boolean> {
  try {
    await ask("v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return false;
    throw error;
  }
  needsToken.set(false);
  return true;
}

export async function logout(): Promise<void> {
  await ask("v1/session", { method: "DELETE" });
  needsToken.set(true);
}

/** The address of a WebSocket of the relay that served the page. */
export function socketAddress(path: string): string {
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  return address.href;
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "The relay does not answer.");
  }
  if (response.ok) return response;
  if (response.status === 401) needsToken.set(true);
  throw new ApiError(response.status, await reason(response));
}

async function reason(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as { error?: unknown };
    if (typeof error === "string") return error;
  } catch {
    // no JSON: the status says it
  }
  return `${response.status} ${response.statusText}`.trim();
}
