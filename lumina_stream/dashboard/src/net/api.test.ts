import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiError, get, login, logout, needsToken, socketAddress } from "./api";
import { installBrowser, page } from "./fakes";

beforeEach(() => {
  installBrowser();
  needsToken.set(false);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("what is asked for is below the page, over the page's own scheme", () => {
  expect(socketAddress("v1/tail")).toBe("wss://host.example/below/v1/tail");
  page.baseURI = "http://127.0.0.1:4318/";
  expect(socketAddress("v1/tail")).toBe("ws://127.0.0.1:4318/v1/tail");
  page.baseURI = "https://host.example/below/#/trace/x";
});

test("an answer is its JSON, a refusal its reason", async () => {
  page.answers.set("v1/ok", { status: 200, body: { a: 1 } });
  page.answers.set("v1/wrong", { status: 400, body: { error: "no such state" } });
  page.answers.set("v1/broken", { status: 502, body: "<html>" });
  page.answers.set("v1/down", new TypeError("Failed to fetch"));
  expect(await get("v1/ok")).toEqual({ a: 1 });
  await expect(get("v1/wrong")).rejects.toMatchObject({ status: 400, message: "no such state" });
  await expect(get("v1/broken")).rejects.toMatchObject({ status: 502, message: "502" });
  await expect(get("v1/down")).rejects.toMatchObject({ status: 0 });
  expect(needsToken.get()).toBe(false);
});

test("who is not known is asked for a token, until it is right", async () => {
  page.answers.set("v1/traces", { status: 401, body: { error: "who are you?" } });
  await expect(get("v1/traces?limit=1")).rejects.toBeInstanceOf(ApiError);
  expect(needsToken.get()).toBe(true);
  page.answers.set("v1/session", { status: 401, body: { error: "wrong token" } });
  expect([await login("guess"), needsToken.get()]).toEqual([false, true]);
  page.answers.set("v1/session", { status: 204, body: null });
  expect([await login("right"), needsToken.get()]).toEqual([true, false]);
  expect(page.asked.at(-1)).toEqual({
    path: "v1/session",
    method: "POST",
    body: '{"token":"right"}',
  });
  await logout();
  expect([page.asked.at(-1)?.method, needsToken.get()]).toEqual(["DELETE", true]);
});

test("a relay that is down is no wrong token", async () => {
  page.answers.set("v1/session", new TypeError("Failed to fetch"));
  await expect(login("right")).rejects.toMatchObject({ status: 0 });
});

test("what was given up is no failure of the relay", async () => {
  const asked = new AbortController();
  const answer = get("v1/ok", asked.signal);
  asked.abort();
  await expect(answer).rejects.toMatchObject({ name: "AbortError" });
});
