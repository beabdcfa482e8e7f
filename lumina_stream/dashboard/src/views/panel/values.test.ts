import { expect, test } from "vitest";

import { asItIs, lines, marksOf, markText, shown } from "./values";

test.each([
  ["plain", "text", "plain"],
  ["", "text", ""],
  [5, "number", "5"],
  [0.1, "number", "0.1"],
  [9007199254740993n, "number", "9007199254740993"],
  ["!int 9007199254740993", "number", "9007199254740993"],
  ["!float nan", "number", "nan"],
  ["!bytes aGk=", "bytes", "aGk="],
  ["!str !int 5", "text", "!int 5"],
  ["!important", "text", "!important"],
  [true, "bool", "true"],
  [null, "none", "none"],
  [[1, "a", null], "list", '[1, "a", null]'],
  [{}, "map", "{}"],
  [{ a: { b: ["!int 9007199254740993"] } }, "map", '{"a": {"b": [9007199254740993]}}'],
  ["[not json]", "text", "[not json]"],
])("%o is %s", (value, type, text) => {
  expect(shown(value)).toEqual({ type, text, pretty: false });
});

test("a string that holds JSON is written in lines, and can be had as it is", () => {
  const value = '{"a":[1,2]}';
  expect(shown(value)).toEqual({ type: "json", text: '{"a": [1, 2]}', pretty: true });
  expect(asItIs(value)).toBe(value);
  const exact = '{"a,b": "x\\"]", "n": 9007199254740993, "e": [], "o": {"x":1}}';
  expect(shown(exact).text).toBe(
    '{\n  "a,b": "x\\"]",\n  "n": 9007199254740993,\n  "e": [],\n  "o": {"x": 1}\n}',
  );
  expect(shown("[".repeat(4000) + "]".repeat(4000)).type).toBe("text");
});

test("a long list is one item a line", () => {
  const text = lines(Array.from({ length: 3 }, () => "x".repeat(30)));
  expect(text.split("\n")).toHaveLength(5);
});

test("marks say what was done", () => {
  expect(markText("cut:9000")).toBe("cut, 9,000 in all");
  expect(markText("cut:deeper than 16")).toBe("cut, deeper than 16");
  expect(markText("converted:numpy.ndarray cut:20000")).toBe(
    "was numpy.ndarray; cut, 20,000 in all",
  );
  expect(markText("redacted")).toBe("redacted");
});

test("marks of places inside a value are its marks", () => {
  const marks = new Map([
    ["items[3].name", "redacted"],
    ["items", "cut:1001"],
    ["items_other", "redacted"],
  ]);
  expect(marksOf("items", marks)).toEqual([
    ["", "cut, 1,001 in all"],
    ["[3].name", "redacted"],
  ]);
});
