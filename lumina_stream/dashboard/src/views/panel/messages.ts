// What a span says of a conversation, as messages: whatever the spelling. Pure.
//
// Our own spans carry `gen_ai.input.messages` and its like; other instrumentations have older
// names, flattened lists, or JSON in one string (`spellings.ts`). Text that came in pieces fills in
// what an attribute could not hold, and is the answer until the answer's own attribute is there.

import { fromEvents, inputs, outputs, system, tools } from "./spellings";
import type { Found, Reader } from "./spellings";
import { untagged } from "./values";

/** `mark`: what was done to it on the way, where it is not whole after all. */
export type Part = { mark?: string } & (
  | { type: "text" | "reasoning" | "refusal"; text: string }
  | { type: "call"; id: string; name: string; arguments: unknown }
  | { type: "result"; id: string; response: unknown }
  | { type: "media"; modality: string; what: string }
  | { type: "other"; name: string; content: unknown }
);

export type Message = {
  role: string;
  name: string;
  parts: Part[];
  finish: string;
  /** True while pieces of it may still come. */
  live?: boolean;
};

export type Tool = { name: string; description: string; parameters: unknown };

export type Conversation = { messages: Message[]; tools: Tool[] };

export type Channel = "input" | "output" | "reasoning" | "tool";

export type Said = {
  attributes: ReadonlyMap<string, unknown>;
  /** What was done to values on the way, by path. */
  marks: ReadonlyMap<string, string>;
  events: readonly { name: string; attributes: Readonly<Record<string, unknown>> }[];
  texts: Readonly<Partial<Record<Channel, string>>>;
  isOpen: boolean;
};

/** Read a span's conversation; without any, no messages. Never throws. */
export function conversation(said: Said): Conversation {
  const reader: Reader = {
    get: (key) => said.attributes.get(key),
    keys: () => said.attributes.keys(),
  };
  const asked = read(inputs(reader));
  const answered = read(outputs(reader));
  const instructions = message("system", partsOf(system(reader)));
  mark(said.marks, { asked, answered, instructions });
  if (!asked.length && !answered.length) asked.push(...messagesOf(fromEvents(said.events), "user"));
  fill([...asked, instructions], said.texts.input ?? ""); // they travel in this order
  if (!asked.length && said.texts.input) {
    asked.push(message("user", [{ type: "text", text: said.texts.input }]));
  }
  const messages = [instructions, ...asked];
  if (answered.length) {
    fill(answered, said.texts.output ?? "");
    fill(answered, said.texts.reasoning ?? "", "reasoning");
    messages.push(...answered);
  } else {
    const parts = streamed(said.texts);
    if (parts.length) messages.push({ ...message("assistant", parts), live: said.isOpen });
  }
  return {
    messages: messages.filter((known) => known.parts.length > 0),
    tools: toolsOf(tools(reader)),
  };
}

function read({ value, role }: Found): Message[] {
  return messagesOf(value, role);
}

function message(role: string, parts: Part[], name = "", finish = ""): Message {
  return { role, name, parts, finish };
}

const MARKED = /^gen_ai\.(input\.messages|output\.messages|system_instructions)(?:\[(\d+)\])?(.*)/;

/** Note at each part what was done to the attribute that it is read from. */
function mark(
  marks: ReadonlyMap<string, string>,
  {
    asked,
    answered,
    instructions,
  }: Record<"asked" | "answered", Message[]> & {
    instructions: Message;
  },
): void {
  for (const [path, text] of marks) {
    const [, name, number = "0", rest = ""] = MARKED.exec(path) ?? [];
    if (name === undefined) continue;
    const place = Number(/^\.parts\[(\d+)\]/.exec(rest)?.[1] ?? 0);
    const part =
      name === "system_instructions"
        ? instructions.parts[Number(number)]
        : (name === "input.messages" ? asked : answered)[Number(number)]?.parts[place];
    if (part) part.mark = text;
  }
}

function streamed(texts: Said["texts"]): Part[] {
  const parts: Part[] = [];
  if (texts.reasoning) parts.push({ type: "reasoning", text: texts.reasoning });
  if (texts.output) parts.push({ type: "text", text: texts.output });
  if (texts.tool) parts.push({ type: "call", id: "", name: "", arguments: parsed(texts.tool) });
  return parts;
}

/** The least length of a text that an attribute may have cut (limits.STRING_LENGTH may be set
 * lower). */
const CUT_LEAST = 256;
const HEAD = 200;

/** Put whole texts, which travelled in pieces one after the other, in the place of cut ones. */
function fill(messages: Message[], travelled: string, only?: "reasoning"): void {
  if (!travelled) return;
  let from = 0;
  let open: (Part & { text: string }) | undefined;
  let openFrom = 0;
  for (const { parts } of messages) {
    for (const part of parts) {
      if (!("text" in part) || part.text.length < CUT_LEAST) continue;
      if ((part.type === "reasoning") !== (only === "reasoning") && only) continue;
      const found = travelled.indexOf(part.text.slice(0, HEAD), from);
      if (found < 0) continue;
      if (open) replace(open, travelled.slice(openFrom, found));
      open = part;
      openFrom = found;
      from = found + part.text.length;
    }
  }
  if (open) replace(open, travelled.slice(openFrom));
}

function replace(part: Part & { text: string }, whole: string): void {
  if (whole.length <= part.text.length || !whole.startsWith(part.text.slice(0, -HEAD))) return;
  part.text = whole;
  if (part.mark?.startsWith("cut:")) delete part.mark;
}

const ROLES: ReadonlyMap<string, string> = new Map([
  ["model", "assistant"],
  ["ai", "assistant"],
  ["chatbot", "assistant"],
  ["aimessagechunk", "assistant"],
  ["human", "user"],
  ["developer", "system"],
]);

function messagesOf(given: unknown, role: string): Message[] {
  const value = parsed(given);
  if (value === undefined || value === null || value === "") return [];
  if (isRecord(value)) {
    // The whole body of a request, or of an answer.
    for (const key of ["messages", "contents", "choices", "generations"]) {
      if (Array.isArray(value[key])) {
        const first = partsOf(value.system);
        const found = messagesOf(value[key], role);
        return first.length ? [message("system", first), ...found] : found;
      }
    }
  }
  if (!Array.isArray(value)) return [messageOf(value, role)];
  if (value.every((item) => Array.isArray(item)) && value.length === 1)
    return messagesOf(value[0], role);
  return value.map((item) => messageOf(item, role));
}

function messageOf(given: unknown, role: string): Message {
  if (!isRecord(given)) return message(role, partsOf(given));
  const inner = given.message;
  if (isRecord(inner) && given.role === undefined) {
    return { ...messageOf(inner, role), finish: text(given.finish_reason) };
  }
  const type = text(given.type);
  let spoken = text(given.role);
  if (!spoken && /^(human|ai|system|tool|AIMessageChunk)$/.test(type)) spoken = type;
  if (!spoken && type && !("content" in given && "role" in given)) {
    const isResult = /(_output|_result|_response)$/.test(type);
    return message(isResult ? "tool" : role, partOf(given));
  }
  const lower = (spoken || role).toLowerCase();
  const named = ROLES.get(lower) ?? lower;
  let parts: Part[] = [];
  for (const key of ["reasoning_content", "reasoning", "thinking"]) {
    if (typeof given[key] === "string" && given[key])
      parts.push({ type: "reasoning", text: text(given[key]) });
  }
  if (given.parts !== undefined) parts.push(...partsOf(given.parts));
  else if (given.content !== undefined) parts.push(...partsOf(given.content));
  else if (given.text !== undefined) parts.push(...partsOf(given.text));
  if (typeof given.refusal === "string" && given.refusal)
    parts.push({ type: "refusal", text: text(given.refusal) });
  if (Array.isArray(given.tool_calls))
    parts.push(...given.tool_calls.flatMap((call) => callOf(call)));
  if (isRecord(given.function_call)) parts.push(...callOf(given.function_call));
  const callId = text(given.tool_call_id ?? given.id);
  if (named === "tool" && !parts.some((part) => part.type === "result")) {
    const plain =
      parts.length === 1 && parts[0].type === "text" ? parsed(parts[0].text) : given.content;
    parts = [{ type: "result", id: callId, response: plain }];
  }
  if (!parts.length && !spoken) parts = [{ type: "other", name: "", content: given }];
  return message(named, parts, text(given.name), text(given.finish_reason ?? given.stop_reason));
}

function partsOf(given: unknown): Part[] {
  if (given === undefined || given === null || given === "") return [];
  if (typeof given === "string") {
    const value = /^\s*\[\s*\{\s*"type"/.test(given) ? parsed(given) : given;
    return typeof value === "string" ? [{ type: "text", text: text(value) }] : partsOf(value);
  }
  return Array.isArray(given) ? given.flatMap((item) => partOf(item)) : partOf(given);
}

function partOf(given: unknown): Part[] {
  if (!isRecord(given))
    return [{ type: "text", text: typeof given === "string" ? text(given) : show(given) }];
  const type = text(given.type);
  const words = first(given, ["content", "text", "thinking", "reasoning", "summary", "refusal"]);
  if (type === "" && given.functionCall !== undefined) return callOf(given.functionCall);
  if (type === "" && isRecord(given.functionResponse)) return [resultOf(given.functionResponse)];
  if (/reasoning|thinking/.test(type)) {
    const hidden = given.redacted === true || type === "redacted_thinking";
    return [
      { type: "reasoning", text: joined(words) || (hidden ? "(not shown by the provider)" : "") },
    ];
  }
  if (type === "refusal") return [{ type: "refusal", text: joined(words) }];
  if (/^(text|input_text|output_text|summary_text)$/.test(type))
    return [{ type: "text", text: joined(words) }];
  if (type === "message") return partsOf(given.content);
  if (/(tool_call_response|tool_result|tool-result|_call_output|_call_result)$/.test(type))
    return [resultOf(given)];
  if (/^(tool_call|tool-call|function|custom)$|tool_use$|_call$/.test(type)) return callOf(given);
  if (
    /^(blob|uri|file|image|image_url|input_image|(input_)?audio|video|document|input_file)$/.test(
      type,
    )
  ) {
    return [mediaOf(type, given)];
  }
  if (type === "" && typeof words === "string") {
    return [{ type: given.thought === true ? "reasoning" : "text", text: text(words) }];
  }
  if (type === "" && given.function !== undefined) return callOf(given);
  return [
    {
      type: "other",
      name: type || "data",
      content: "content" in given && type ? given.content : given,
    },
  ];
}

function callOf(given: unknown): Part[] {
  if (!isRecord(given)) return [];
  const inner = isRecord(given.function) ? given.function : given;
  const asked = first(inner, ["arguments", "input", "args", "parameters"]);
  return [
    {
      type: "call",
      id: text(given.id ?? given.call_id ?? given.toolCallId),
      name: text(inner.name ?? inner.toolName ?? given.name),
      arguments: parsed(asked),
    },
  ];
}

function resultOf(given: Record<string, unknown>): Part {
  const id = text(given.tool_use_id ?? given.call_id ?? given.toolCallId ?? given.id);
  const value = first(given, ["response", "result", "content", "output"]);
  return { type: "result", id, response: parsed(value) };
}

function mediaOf(type: string, given: Record<string, unknown>): Part {
  const inner = isRecord(given[type]) ? (given[type] as Record<string, unknown>) : given;
  const where = text(given.uri ?? inner.url ?? given.file_id ?? inner.file_id);
  const mime = text(given.mime_type ?? given.media_type);
  const size = typeof given.length === "number" ? `${given.length} characters` : "";
  const shown = where.startsWith("data:") ? where.slice(0, where.indexOf(",") + 1) : where;
  return {
    type: "media",
    modality: text(given.modality) || type.replace(/^input_|_url$/g, ""),
    what: [mime, shown, size].filter(Boolean).join(", "),
  };
}

function toolsOf(given: unknown): Tool[] {
  const value = parsed(given);
  if (!Array.isArray(value)) return [];
  return value.flatMap((item) => {
    const known = parsed(item);
    if (!isRecord(known)) return [];
    const inner = isRecord(known.function) ? known.function : known;
    const parameters = first(inner, ["parameters", "input_schema", "inputSchema", "json_schema"]);
    return [
      {
        name: text(inner.name),
        description: text(inner.description),
        parameters: parsed(parameters),
      },
    ];
  });
}

/** Return what JSON text says if it is a list or a map, anything else as it is. */
export function parsed(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value; // broken off, or never meant so
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  if (typeof value === "string") return untagged(value).text;
  return typeof value === "number" ? String(value) : "";
}

function first(given: Record<string, unknown>, keys: readonly string[]): unknown {
  for (const key of keys) if (given[key] !== undefined && given[key] !== null) return given[key];
  return undefined;
}

function joined(value: unknown): string {
  if (typeof value === "string") return text(value);
  if (Array.isArray(value)) {
    return value.map((item) => (isRecord(item) ? text(item.text) : text(item))).join("");
  }
  return isRecord(value) ? text(value.value) : "";
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "";
}
