// What a span says of the call that it stands for, in any of the spellings of model/usage.py. Pure.

import { untagged } from "./values";

const SPELLINGS = {
  model: [
    "gen_ai.response.model",
    "llm.response.model_name",
    "llm.response.model",
    "ai.response.model",
    "gen_ai.request.model",
    "llm.request.model_name",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
    "llm.request.model",
    "ai.model.id",
  ],
  provider: [
    "gen_ai.provider.name",
    "gen_ai.system",
    "llm.provider",
    "llm.system",
    "ai.model.provider",
  ],
  finish: [
    "gen_ai.response.finish_reasons",
    "gen_ai.completion.0.finish_reason",
    "llm.response.finish_reason",
    "ai.response.finishReason",
  ],
  firstChunk: ["gen_ai.response.time_to_first_chunk", "ai.response.msToFirstChunk"],
} as const;

export type Call = {
  model: string;
  provider: string;
  finish: string;
  /** Seconds from the request to the first piece of the answer. */
  firstChunkS: number | null;
};

export function readCall(attributes: ReadonlyMap<string, unknown>): Call {
  const first = firstSaid(attributes, SPELLINGS.firstChunk);
  return {
    model: words(firstSaid(attributes, SPELLINGS.model)?.value),
    provider: words(firstSaid(attributes, SPELLINGS.provider)?.value),
    finish: words(firstSaid(attributes, SPELLINGS.finish)?.value),
    firstChunkS:
      typeof first?.value === "number" && first.value >= 0
        ? first.value / (first.key.startsWith("ai.") ? 1000 : 1)
        : null,
  };
}

/** Return tokens a second while the answer was written; null where it cannot be said. */
export function tokensPerSecond(
  output: number,
  durationNs: number,
  firstNs: number | null,
): number | null {
  // What came whole took its whole time; of a stream, the time to its first piece was waiting.
  const seconds = (durationNs - (firstNs ?? 0)) / 1e9;
  return output > 0 && seconds > 0.001 ? output / seconds : null;
}

function firstSaid(attributes: ReadonlyMap<string, unknown>, keys: readonly string[]) {
  for (const key of keys) {
    const value = attributes.get(key);
    if (value !== undefined && value !== null && value !== "") return { key, value };
  }
  return undefined;
}

function words(value: unknown): string {
  if (Array.isArray(value)) return value.map(words).filter(Boolean).join(", ");
  if (typeof value === "string") return untagged(value).text;
  return typeof value === "number" ? String(value) : "";
}
