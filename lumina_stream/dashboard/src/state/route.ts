// Where the person is: the hash of the address, read and written. Everything that is worth sending
// to a colleague is in it: the filter, the trace, the span, the view.

import { Atom } from "./atom";

export const VIEWS = ["waterfall", "flame", "merged", "statistics", "log"] as const;
export type View = (typeof VIEWS)[number];

export type ListRoute = { page: "list"; q: string };
export type TraceRoute = {
  page: "trace";
  traceId: string;
  /** The selected span, with its panel open. */
  span: string | null;
  view: View;
  /** A moment of the replay, as the trace page writes it; null: live. */
  at: string | null;
};
export type UnknownRoute = { page: "unknown" };
export type Route = ListRoute | TraceRoute | UnknownRoute;

/** Read an address' hash, with or without its `#`. Never throws. */
export function parseRoute(hash: string): Route {
  const address = hash.replace(/^#/, "");
  const cut = address.indexOf("?");
  const path = cut < 0 ? address : address.slice(0, cut);
  const query = new URLSearchParams(cut < 0 ? "" : address.slice(cut + 1));
  if (path === "" || path === "/") return { page: "list", q: query.get("q") ?? "" };
  const found = /^\/trace\/([0-9a-f]{32})\/?$/i.exec(path);
  if (!found) return { page: "unknown" };
  const span = query.get("span") ?? "";
  const view = query.get("view");
  return {
    page: "trace",
    traceId: found[1].toLowerCase(),
    span: /^[0-9a-f]{16}$/i.test(span) ? span.toLowerCase() : null,
    view: VIEWS.find((known) => known === view) ?? "waterfall",
    at: query.get("at"),
  };
}

/** Write a route as a hash, `#` included; what is as by default is left out. */
export function writeRoute(route: Route): string {
  if (route.page === "unknown") return "#/";
  const query = new URLSearchParams();
  if (route.page === "list") {
    if (route.q) query.set("q", route.q);
    return `#/${question(query)}`;
  }
  if (route.span) query.set("span", route.span);
  if (route.view !== "waterfall") query.set("view", route.view);
  if (route.at !== null) query.set("at", route.at);
  return `#/trace/${route.traceId}${question(query)}`;
}

function question(query: URLSearchParams): string {
  // A filter is read by people: what a hash may carry as it is stays as it is.
  const text = query
    .toString()
    .replace(/%3A/g, ":")
    .replace(/%3E/g, ">")
    .replace(/%3D/g, "=")
    .replace(/%2F/g, "/")
    .replace(/%2A/g, "*");
  return text && `?${text}`;
}

export const route = new Atom<Route>({ page: "list", q: "" });

/** The address of a trace, for a link. */
export function traceHref(traceId: string, span: string | null = null): string {
  return writeRoute({ page: "trace", traceId, span, view: "waterfall", at: null });
}

/** Go there. `replace`: the step does not count for the browser's Back button. */
export function go(to: Route, { replace = false } = {}): void {
  const hash = writeRoute(to);
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  route.set(to);
}

/** Follow the address; called once. */
export function applyRoute(): void {
  const read = () => {
    const found = parseRoute(location.hash);
    if (writeRoute(found) !== writeRoute(route.get()) || found.page !== route.get().page) {
      route.set(found);
    }
  };
  addEventListener("hashchange", read);
  addEventListener("popstate", read);
  read();
}
