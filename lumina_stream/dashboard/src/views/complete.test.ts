import { expect, test } from "vitest";

import { accept, complete, quoted } from "./complete";

const SEEN = { service: ["rag", "my app", "billing"], name: ["rag_request"] };
const offers = (text: string, caret = text.length) =>
  complete(text, caret, SEEN).offers.map((offer) => offer.text);

test("an empty box offers every word", () => {
  expect(offers("")).toContain("service:");
  expect(offers("error ")).toContain("duration:>");
});

test("a word that is begun", () => {
  expect(offers("se")).toEqual(["service:", "session:"]);
  expect(offers("error s", 7)).toEqual(["service:", "state:", "session:"]);
  expect(offers("error")).toEqual([]);
});

test("values that were seen, those that begin so first", () => {
  expect(offers("service:")).toEqual(["service:rag", 'service:"my app"', "service:billing"]);
  expect(offers("service:a")).toEqual(["service:rag", 'service:"my app"']);
  expect(offers("service:rag")).toEqual([]);
  expect(offers("state:i")).toEqual(["state:interrupted", "state:running", "state:missing"]);
  expect(offers('service:"my a')).toEqual(['service:"my app"']);
});

test("an accepted word leaves the rest of the text alone", () => {
  const text = "ser error";
  const found = complete(text, 3, SEEN);
  expect(accept(text, found, found.offers[0])).toEqual({ text: "service: error", caret: 8 });
  const value = complete("service:r", 9, SEEN);
  expect(accept("service:r", value, value.offers[0])).toEqual({ text: "service:rag ", caret: 12 });
});

test("a value with spaces or quotes is one word", () => {
  expect(quoted("plain-1")).toBe("plain-1");
  expect(quoted('say "hi" \\o/')).toBe('"say \\"hi\\" \\\\o/"');
});
