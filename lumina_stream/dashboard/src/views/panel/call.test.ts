import { expect, test } from "vitest";

import { readCall, tokensPerSecond } from "./call";

const read = (attributes: Record<string, unknown>) => readCall(new Map(Object.entries(attributes)));

test("the model that answered counts before the one that was asked", () => {
  expect(
    read({ "gen_ai.request.model": "small", "gen_ai.response.model": "small-2025" }).model,
  ).toBe("small-2025");
  expect(read({ "gen_ai.request.model": "small", "gen_ai.response.model": "" }).model).toBe(
    "small",
  );
  expect(read({ "llm.model_name": "other" }).model).toBe("other");
  expect(read({ "llm.model_name": "!str !int 7" }).model).toBe("!int 7");
});

test("finish reasons, one or several", () => {
  expect(read({ "gen_ai.response.finish_reasons": ["stop", "length"] }).finish).toBe(
    "stop, length",
  );
  expect(read({ "ai.response.finishReason": "stop" }).finish).toBe("stop");
});

test("the first chunk is in seconds, whoever counted", () => {
  expect(read({ "gen_ai.response.time_to_first_chunk": 0.42 }).firstChunkS).toBe(0.42);
  expect(read({ "ai.response.msToFirstChunk": 420 }).firstChunkS).toBe(0.42);
  expect(read({ "gen_ai.response.time_to_first_chunk": "soon" }).firstChunkS).toBeNull();
  expect(read({}).firstChunkS).toBeNull();
});

test("tokens a second count from the first piece on", () => {
  expect(tokensPerSecond(100, 6e9, 1e9)).toBe(20);
  expect(tokensPerSecond(100, 5e9, null)).toBe(20);
  expect(tokensPerSecond(0, 5e9, null)).toBeNull();
  expect(tokensPerSecond(100, 1e9, 1e9)).toBeNull();
});
