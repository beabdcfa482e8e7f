// Where the instrumentations of this world put what was asked and answered, the best first. Pure.
//
// OpenTelemetry's GenAI conventions (now, and as events before), OpenInference (flattened lists),
// OpenLLMetry (flattened, or one string), pydantic-ai and logfire, the Vercel AI SDK, Langfuse.

export type Reader = { get(key: string): unknown; keys(): Iterable<string> };

type Event = { name: string; attributes: Readonly<Record<string, unknown>> };

/** What was said, and who said it where the messages themselves do not tell. */
export type Found = { value: unknown; role: string };

export function inputs(said: Reader): Found {
  const value =
    said.get("gen_ai.input.messages") ??
    said.get("gen_ai.request.messages") ??
    flattened(said, "llm.input_messages") ??
    flattened(said, "gen_ai.prompt") ??
    flattened(said, "llm.prompts") ??
    said.get("gen_ai.prompt") ??
    said.get("ai.prompt.messages") ??
    said.get("ai.prompt") ??
    said.get("pydantic_ai.all_messages") ??
    said.get("all_messages_events") ??
    call(said, ["gen_ai.tool.call.arguments", "tool_arguments", "ai.toolCall.args"]) ??
    said.get("gen_ai.retrieval.query.text");
  return value === undefined ? plainly(said, "input") : { value, role: "user" };
}

export function outputs(said: Reader): Found {
  const value =
    said.get("gen_ai.output.messages") ??
    flattened(said, "llm.output_messages") ??
    flattened(said, "gen_ai.completion") ??
    said.get("gen_ai.completion") ??
    vercel(said) ??
    result(said, ["gen_ai.tool.call.result", "tool_response", "ai.toolCall.result"]);
  return value === undefined ? plainly(said, "output") : { value, role: "assistant" };
}

/** What any span may say of its input or output, conversation or not. */
function plainly(said: Reader, side: "input" | "output"): Found {
  const keys = [`${side}.value`, `traceloop.entity.${side}`, `langfuse.observation.${side}`];
  return {
    value: keys.map((key) => said.get(key)).find((value) => value !== undefined),
    role: side,
  };
}

export function system(said: Reader): unknown {
  return said.get("gen_ai.system_instructions") ?? said.get("system_instructions");
}

export function tools(said: Reader): unknown {
  const listed = flattened(said, "llm.tools") ?? flattened(said, "llm.request.functions");
  return (
    said.get("gen_ai.tool.definitions") ??
    listed?.map((item) => (item as { tool?: { json_schema?: unknown } }).tool?.json_schema ?? item)
  );
}

/** Messages that were told as events of the span, as the conventions had it until 2025. */
export function fromEvents(events: readonly Event[]): unknown[] {
  const found: unknown[] = [];
  for (const { name, attributes } of events) {
    const role = /^gen_ai\.(system|user|assistant|tool)\.message$/.exec(name)?.[1];
    if (role) found.push({ role, ...attributes });
    else if (name === "gen_ai.choice")
      found.push({ role: "assistant", ...attributes, ...asRecord(attributes.message) });
    else if (name === "gen_ai.content.prompt")
      found.push({ role: "user", content: attributes["gen_ai.prompt"] });
    else if (name === "gen_ai.content.completion") {
      found.push({ role: "assistant", content: attributes["gen_ai.completion"] });
    }
  }
  return found;
}

function asRecord(value: unknown): object {
  if (typeof value !== "string") return typeof value === "object" && value !== null ? value : {};
  try {
    return asRecord(JSON.parse(value));
  } catch {
    return { content: value };
  }
}

function call(said: Reader, keys: readonly string[]): unknown {
  for (const key of keys) {
    const value = said.get(key);
    if (value === undefined) continue;
    const name = said.get("gen_ai.tool.name") ?? said.get("ai.toolCall.name");
    return [{ role: "assistant", parts: [{ type: "tool_call", name, arguments: value }] }];
  }
  return undefined;
}

function result(said: Reader, keys: readonly string[]): unknown {
  for (const key of keys) {
    const value = said.get(key);
    if (value !== undefined)
      return [{ role: "tool", parts: [{ type: "tool_call_response", response: value }] }];
  }
  return undefined;
}

function vercel(said: Reader): unknown {
  const content = said.get("ai.response.text") ?? said.get("ai.response.object");
  const calls = said.get("ai.response.toolCalls");
  if (content === undefined && calls === undefined) return undefined;
  return [
    { role: "assistant", content, tool_calls: typeof calls === "string" ? asRecord(calls) : calls },
  ];
}

/** Levels that only name what is below them. */
const WRAPPERS = new Set(["message", "tool_call", "message_content"]);
const MOST_KEYS = 20_000;

/** Rebuild a list whose items are keys: `prefix.0.message.role`; undefined where there is none. */
function flattened(said: Reader, prefix: string): unknown[] | undefined {
  const start = `${prefix}.`;
  let root: Node | undefined;
  let left = MOST_KEYS;
  for (const key of said.keys()) {
    if (!key.startsWith(start) || !/^\d/.test(key.slice(start.length)) || left-- <= 0) continue;
    root ??= new Map();
    let at = root;
    const path = key.slice(start.length).split(".");
    const leaf = path.pop()!;
    for (const step of path) {
      if (WRAPPERS.has(step)) continue;
      const next = at.get(step);
      if (next instanceof Map) at = next as Node;
      else {
        const made: Node = new Map();
        at.set(step, made);
        at = made;
      }
    }
    at.set(leaf, said.get(key));
  }
  if (!root) return undefined;
  const list = plain(root);
  return Array.isArray(list) ? list : undefined;
}

type Node = Map<string, unknown>;

function plain(node: unknown): unknown {
  if (!(node instanceof Map)) return node;
  const entries = [...(node as Node)];
  if (entries.every(([key]) => /^\d+$/.test(key))) {
    return entries.sort(([a], [b]) => Number(a) - Number(b)).map(([, value]) => plain(value));
  }
  return Object.fromEntries(
    entries.map(([key, value]) => [key === "contents" ? "content" : key, plain(value)]),
  );
}
