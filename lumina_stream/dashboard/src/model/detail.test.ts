import { expect, test } from "vitest";

import { Detail, MOST_ATTRIBUTES, MOST_LINKS } from "./detail";
import type { Stamp } from "./detail";

function at(time: number, by = "p", seq = time): Stamp {
  return { time, by, seq, imported: by.startsWith("+otlp-") };
}

test("text grows as it comes, and reads in the order of its index when it does not come so", () => {
  const detail = new Detail();
  detail.addPiece("output", 0, "a", at(1));
  detail.addPiece("output", 1, "b", at(2));
  expect(detail.text("output")).toBe("ab");
  detail.addPiece("output", 4, "e", at(5));
  detail.addPiece("output", 3, "d", at(4));
  expect(detail.text("output")).toBe("abde");
  detail.addPiece("output", 2, "c", at(3));
  detail.addPiece("output", 5, "f", at(6));
  expect(detail.text("output")).toBe("abcdef");
  expect(detail.pieces("output").map((piece) => piece.index)).toEqual([0, 1, 2, 3, 4, 5]);
});

test("of one piece that is said twice the later one counts", () => {
  const detail = new Detail();
  detail.addPiece("output", 0, "old", at(1));
  expect(detail.addPiece("output", 0, "older", at(0))).toBe("known");
  expect(detail.addPiece("output", 0, "new", at(2))).toBe("changed");
  expect([detail.text("output"), detail.pieces("output").length]).toEqual(["new", 1]);
  expect([detail.text("input"), detail.channels]).toEqual(["", ["output"]]);
});

test("no more is kept than may be, and what is known may still change", () => {
  const detail = new Detail();
  for (let n = 0; n < MOST_ATTRIBUTES; n++)
    expect(detail.setValue(`k${n}`, n, at(n), null)).toBe("changed");
  expect(detail.setValue("more", 1, at(1), null)).toBe("full");
  expect(detail.setValue("k1", "new", at(9_999), null)).toBe("changed");
  for (let n = 0; n < MOST_LINKS; n++)
    detail.addLink(n, { trace_id: "t", span_id: String(n) }, at(1));
  expect(detail.addLink(MOST_LINKS, { trace_id: "t", span_id: "s" }, at(1))).toBe("full");
  expect(detail.links.length).toBe(MOST_LINKS);
});

test("what a key is called does not matter", () => {
  const detail = new Detail();
  for (const key of ["__proto__", "constructor", "toString", "3", ""])
    detail.setValue(key, key, at(1), null);
  expect([...detail.attributes.keys()].sort()).toEqual([
    "",
    "3",
    "__proto__",
    "constructor",
    "toString",
  ]);
  expect(detail.attributes.get("__proto__")).toBe("__proto__");
});

test("a change counts up, and saying it again does not", () => {
  const detail = new Detail();
  const versions = new Set([detail.version]);
  const all = () => {
    detail.setValue("k", 1, at(1), null);
    detail.addEvent("e", {}, at(2), null);
    detail.addPiece("output", 0, "x", at(3));
    detail.addLink(0, { trace_id: "t", span_id: "s" }, at(4));
    detail.addMarks({ "@name": "cut", k: "cut" }, at(5));
    versions.add(detail.version);
  };
  all();
  all();
  expect(versions.size).toBe(2);
  expect([...detail.marks]).toEqual([["@name", "cut"]]);
});

test("events stay listed in order while more of them come", () => {
  const detail = new Detail();
  detail.addEvent("b", {}, at(2), null);
  expect(detail.events.map((event) => event.name)).toEqual(["b"]);
  detail.addEvent("a", {}, at(1), null);
  detail.addEvent("c", {}, at(2, "q"), null);
  expect(detail.events.map((event) => event.name)).toEqual(["a", "b", "c"]);
  expect(detail.lastEvent).toBe(2);
});
