import { expect, test } from "vitest";

import { parse, toParams, toWire, write } from "./filter";
import type { Filter } from "./filter";

test.each<[string, Filter]>([
  ["", {}],
  ["  ", {}],
  ["service:rag", { service: "rag" }],
  ['service:"my rag"', { service: "my rag" }],
  ["name:syn*", { name: "syn*" }],
  ["synthesis", { name: "*synthesis*" }],
  ['"rag request"', { name: "*rag request*" }],
  ["rag request", { name: "*rag*request*" }],
  ["why?", { name: "*why[?]*" }],
  ["state:interrupted", { state: "interrupted" }],
  ["error", { error: true }],
  ['"error"', { name: "*error*" }],
  ["error:false", { error: false }],
  ["duration:>2s", { minDurationNs: 2e9 }],
  ["duration:>=1.5m duration:<=1h", { minDurationNs: 90e9, maxDurationNs: 3600e9 }],
  ["duration:<1m30s", { maxDurationNs: 90e9 }],
  ["session:s-1 user:ü", { session: "s-1", user: "ü" }],
  ["db.top_k=5", { attributes: [["db.top_k", "5"]] }],
  [
    'a="x y" b=c=d',
    {
      attributes: [
        ["a", "x y"],
        ["b", "c=d"],
      ],
    },
  ],
  ['url="http://x/?a=1"', { attributes: [["url", "http://x/?a=1"]] }],
  ['"a:b"=c', { attributes: [["a:b", "c"]] }],
  ['empty=""', { attributes: [["empty", ""]] }],
  ['q="say \\"hi\\" \\\\"', { attributes: [["q", 'say "hi" \\']] }],
  [
    "service:a state:ok error k=v text",
    {
      service: "a",
      state: "ok",
      error: true,
      attributes: [["k", "v"]],
      name: "*text*",
    },
  ],
])("%j is read", (text, filter) => {
  expect(parse(text)).toEqual({ filter, errors: [] });
});

test.each([
  ["state:broken", 0, 12, "There is no state broken"],
  ["ok colour:red", 3, 13, "There is no colour:"],
  ["duration:2s", 0, 11, "duration:>2s"],
  ["duration:>2", 0, 11, "2 is no duration"],
  ["duration:>", 0, 10, "Nothing is no duration"],
  ["duration:>2lightyears", 0, 21, "no duration"],
  ["service:", 0, 8, "service: what?"],
  ["k=", 0, 2, "k= what?"],
  ["service:a service:b", 10, 19, "twice"],
  ["error:maybe", 0, 11, "error:true"],
  ['name:"open', 0, 10, "not closed"],
  ['"', 0, 1, "not closed"],
  ["name:x y", 0, 8, "cannot be combined"],
])("%j is wrong, and it is said where", (text, at, end, message) => {
  const { errors } = parse(text);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatchObject({ at, end });
  expect(errors[0].message).toContain(message);
});

test("what can be read stays in the filter beside what cannot", () => {
  expect(parse("service:rag state:broken").filter).toEqual({ service: "rag" });
});

test("nothing makes it throw, and a written filter reads as it was", () => {
  const pieces = [
    '"',
    "\\",
    ":",
    "=",
    " ",
    "*",
    "?",
    "[",
    "a",
    "error",
    "name",
    "duration:>",
    "1s",
    "\u202e",
    "__proto__",
  ];
  let state = 7;
  const random = (n: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % n;
  for (let n = 0; n < 5_000; n++) {
    const text = Array.from({ length: random(8) }, () => pieces[random(pieces.length)]).join("");
    const { filter, errors } = parse(text);
    for (const { at, end } of errors) expect(0 <= at && at < end && end <= text.length).toBe(true);
    const written = write(filter);
    expect([text, parse(written)]).toEqual([text, { filter, errors: [] }]);
  }
});

test("it becomes what the API takes", () => {
  const { filter } = parse('service:a duration:>2s error k=v l="x y" name:*b*');
  expect(toWire(filter)).toEqual({
    service: "a",
    error: true,
    min_duration_ns: 2e9,
    name: "*b*",
    attribute: ["k=v", "l=x y"],
  });
  expect(toParams(filter).toString()).toBe(
    "service=a&error=true&name=*b*&min_duration_ns=2000000000&attribute=k%3Dv&attribute=l%3Dx+y",
  );
  expect(toParams({}).toString()).toBe("");
});
