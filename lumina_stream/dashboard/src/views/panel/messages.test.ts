import { expect, test } from "vitest";

import { conversation } from "./messages";
import type { Said } from "./messages";

function said(attributes: Record<string, unknown>, more: Partial<Said> = {}): Said {
  return {
    attributes: new Map(Object.entries(attributes)),
    marks: new Map(),
    events: [],
    texts: {},
    isOpen: false,
    ...more,
  };
}

const read = (attributes: Record<string, unknown>, more: Partial<Said> = {}) =>
  conversation(said(attributes, more)).messages.map(({ role, parts, live }) =>
    live ? [role, parts, "live"] : [role, parts],
  );

const text = (words: string) => ({ type: "text", text: words });

test("our own spans: instructions, messages, tool calls and results, the answer", () => {
  const messages = [
    { role: "user", parts: [{ type: "text", content: "Hi" }] },
    { role: "assistant", parts: [{ type: "tool_call", id: "a", name: "f", arguments: { x: 1 } }] },
    { role: "tool", parts: [{ type: "tool_call_response", id: "a", response: "42" }] },
  ];
  const answer = {
    role: "assistant",
    parts: [
      { type: "reasoning", content: "Hm." },
      { type: "text", content: "42" },
    ],
    finish_reason: "stop",
  };
  const found = conversation(
    said({
      "gen_ai.system_instructions": [{ type: "text", content: "Be brief." }],
      "gen_ai.input.messages": messages,
      "gen_ai.output.messages": JSON.stringify([answer]),
      "gen_ai.tool.definitions": [
        { type: "function", name: "f", description: "d", parameters: {} },
      ],
    }),
  );
  expect(found.messages.map(({ role, parts }) => [role, parts])).toEqual([
    ["system", [text("Be brief.")]],
    ["user", [text("Hi")]],
    ["assistant", [{ type: "call", id: "a", name: "f", arguments: { x: 1 } }]],
    ["tool", [{ type: "result", id: "a", response: "42" }]],
    ["assistant", [{ type: "reasoning", text: "Hm." }, text("42")]],
  ]);
  expect(found.messages.at(-1)!.finish).toBe("stop");
  expect(found.tools).toEqual([{ name: "f", description: "d", parameters: {} }]);
});

test("OpenInference's flattened lists", () => {
  expect(
    read({
      "llm.input_messages.1.message.role": "user",
      "llm.input_messages.1.message.contents.0.message_content.type": "text",
      "llm.input_messages.1.message.contents.0.message_content.text": "Hi",
      "llm.input_messages.0.message.role": "system",
      "llm.input_messages.0.message.content": "Be brief.",
      "llm.output_messages.0.message.role": "assistant",
      "llm.output_messages.0.message.tool_calls.0.tool_call.id": "a",
      "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f",
      "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"x":1}',
      "input.value": "not this",
    }),
  ).toEqual([
    ["system", [text("Be brief.")]],
    ["user", [text("Hi")]],
    ["assistant", [{ type: "call", id: "a", name: "f", arguments: { x: 1 } }]],
  ]);
});

test("OpenLLMetry's flattened lists", () => {
  expect(
    read({
      "gen_ai.prompt.0.role": "user",
      "gen_ai.prompt.0.content": "Hi",
      "gen_ai.completion.0.role": "assistant",
      "gen_ai.completion.0.content": "Hello",
      "gen_ai.completion.0.finish_reason": "stop",
    }),
  ).toEqual([
    ["user", [text("Hi")]],
    ["assistant", [text("Hello")]],
  ]);
});

test("messages as events of the span", () => {
  const events = [
    { name: "gen_ai.user.message", attributes: { content: "Hi" } },
    {
      name: "gen_ai.choice",
      attributes: { index: 0, finish_reason: "stop", message: { content: "Hello" } },
    },
    { name: "retry", attributes: {} },
  ];
  expect(read({}, { events })).toEqual([
    ["user", [text("Hi")]],
    ["assistant", [text("Hello")]],
  ]);
});

test("the Vercel AI SDK", () => {
  expect(
    read({
      "ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"Hi"}]}]',
      "ai.response.text": "Hello",
      "ai.response.toolCalls": '[{"toolCallId":"a","toolName":"f","args":"{\\"x\\":1}"}]',
    }),
  ).toEqual([
    ["user", [text("Hi")]],
    ["assistant", [text("Hello"), { type: "call", id: "a", name: "f", arguments: { x: 1 } }]],
  ]);
});

test("the input and output of any span", () => {
  expect(read({ "input.value": '{"query":"x"}', "output.value": "found" })).toEqual([
    ["input", [{ type: "other", name: "", content: { query: "x" } }]],
    ["output", [text("found")]],
  ]);
});

test("an answer streams in, until the answer itself is there", () => {
  const texts = { reasoning: "Hm.", output: "Hel", tool: '{"x"' };
  const parts = [
    { type: "reasoning", text: "Hm." },
    text("Hel"),
    { type: "call", id: "", name: "", arguments: '{"x"' },
  ];
  expect(read({ "gen_ai.input.messages": "Hi" }, { texts, isOpen: true })).toEqual([
    ["user", [text("Hi")]],
    ["assistant", parts, "live"],
  ]);
  expect(read({ "gen_ai.output.messages": "Hello" }, { texts, isOpen: true })).toEqual([
    ["assistant", [text("Hello")]],
  ]);
});

test("what an attribute could not hold comes from the pieces", () => {
  const first = `first ${"a".repeat(9000)}`;
  const second = `second ${"b".repeat(9000)}`;
  const whole = "c".repeat(8192);
  const messages = [first, "short", whole, second].map((all) => ({
    role: "user",
    parts: [{ type: "text", content: all.slice(0, 8192) }],
  }));
  expect(read({ "gen_ai.input.messages": messages }, { texts: { input: first + second } })).toEqual(
    [first, "short", whole, second].map((whole) => ["user", [text(whole)]]),
  );
});

test("instructions travel after the messages", () => {
  const first = `first ${"a".repeat(9000)}`;
  const second = `second ${"b".repeat(9000)}`;
  const attributes = {
    "gen_ai.system_instructions": [{ type: "text", content: second.slice(0, 8192) }],
    "gen_ai.input.messages": [{ role: "user", content: first.slice(0, 8192) }],
  };
  expect(read(attributes, { texts: { input: first + second } })).toEqual([
    ["system", [text(second)]],
    ["user", [text(first)]],
  ]);
});

test("what was done to a part is noted at it, unless it is whole again", () => {
  const whole = "a".repeat(9000);
  const input = [
    { role: "user", parts: [text(""), { type: "text", content: whole.slice(0, 8192) }] },
    { role: "assistant", parts: [{ type: "tool_call", name: "f", arguments: { key: "x" } }] },
  ];
  const marks = new Map([
    ["gen_ai.input.messages[0].parts[1].content", "cut:9000"],
    ["gen_ai.input.messages[1].parts[0].arguments.key", "redacted"],
    ["gen_ai.input.messages[7].parts[0].content", "cut:9000"],
    ["other", "redacted"],
  ]);
  const noted = (texts: Said["texts"]) =>
    conversation(said({ "gen_ai.input.messages": input }, { marks, texts })).messages.map((known) =>
      known.parts.map((part) => part.mark),
    );
  expect(noted({})).toEqual([[undefined, "cut:9000"], ["redacted"]]);
  expect(noted({ input: whole })).toEqual([[undefined, undefined], ["redacted"]]);
});

test("pieces that belong to something else change nothing", () => {
  const whole = "x".repeat(400);
  const input = { role: "user", parts: [{ type: "text", content: whole }] };
  expect(read({ "gen_ai.input.messages": [input] }, { texts: { input: "other" } })).toEqual([
    ["user", [text(whole)]],
  ]);
});

test("a text that looks like a tag is the text", () => {
  const content = "!str !int 7";
  const input = [{ role: "user", parts: [{ type: "text", content }] }];
  expect(read({ "gen_ai.input.messages": input, "output.value": content })).toEqual([
    ["user", [text("!int 7")]],
    ["output", [text("!int 7")]],
  ]);
});

test("hostile and broken values are text, or nothing", () => {
  const markup = "<img src=x onerror=alert(1)>";
  expect(read({ "gen_ai.input.messages": [{ role: markup, content: markup }] })).toEqual([
    [markup, [text(markup)]],
  ]);
  expect(read({ "gen_ai.input.messages": [{ role: "constructor", content: "x" }] })).toEqual([
    ["constructor", [text("x")]],
  ]);
  for (const broken of [
    null,
    5,
    [],
    [null],
    [[]],
    {},
    "[{",
    '{"messages":5}',
    [{ parts: 7 }],
    { parts: {} },
  ]) {
    expect(() =>
      read({ "gen_ai.input.messages": broken, "gen_ai.output.messages": broken }),
    ).not.toThrow();
  }
  const proto = read({ "llm.input_messages.0.message.__proto__.polluted": "1" });
  expect(JSON.stringify(proto)).toContain('{"__proto__":{"polluted":"1"}}');
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});
