// A WebSocket that comes back by itself.

/** "missing": no such trace (yet). "refused": the relay wants no more of it, or a token. */
export type LinkStatus = "loading" | "live" | "reconnecting" | "missing" | "refused";
