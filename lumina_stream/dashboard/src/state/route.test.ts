import { expect, test } from "vitest";

import { parseRoute, traceHref, writeRoute } from "./route";

const TRACE = "0123456789abcdef0123456789abcdef";
const SPAN = "0123456789abcdef";

test("an address without a hash is the list", () => {
  for (const hash of ["", "#", "#/", "#/?q="])
    expect(parseRoute(hash)).toEqual({ page: "list", q: "" });
});

test("a filter is read by people in the address, and comes back whole", () => {
  const q = 'service:rag duration:>2s user.id=ü & "a b" error';
  const hash = writeRoute({ page: "list", q });
  expect(hash).toContain("service:rag+duration:>2s+user.id=");
  expect(parseRoute(hash)).toEqual({ page: "list", q });
});

test("a trace, its span, its view and its moment", () => {
  const whole = { page: "trace", traceId: TRACE, span: SPAN, view: "flame", at: "12" } as const;
  expect(parseRoute(writeRoute(whole))).toEqual(whole);
  expect(traceHref(TRACE)).toBe(`#/trace/${TRACE}`);
  expect(traceHref(TRACE, SPAN)).toBe(`#/trace/${TRACE}?span=${SPAN}`);
});

test("ids are lower case, and what is none is not one", () => {
  expect(parseRoute(`#/trace/${TRACE.toUpperCase()}?span=${SPAN.toUpperCase()}`)).toMatchObject({
    traceId: TRACE,
    span: SPAN,
  });
  expect(parseRoute(`#/trace/${TRACE}?span=<img>&view=<b>`)).toMatchObject({
    span: null,
    view: "waterfall",
  });
  for (const hash of ["#/trace/xyz", "#/trace/", "#/elsewhere", "#javascript:alert(1)"]) {
    expect(parseRoute(hash)).toEqual({ page: "unknown" });
  }
});
