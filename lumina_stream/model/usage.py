"""What a span says of an LLM call: tokens by type, the model, the response. One table of spellings.

The canonical names are OpenTelemetry's GenAI conventions; older ones, OpenInference's and those of
well-known libraries are read as the same. Nothing is rewritten: a span keeps the names that it came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"

SPELLINGS: dict[str, tuple[str, ...]] = {
    "input": (
        INPUT_TOKENS,
        "gen_ai.usage.prompt_tokens",
        "gen_ai.aggregated_usage.input_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
    ),
    "output": (
        OUTPUT_TOKENS,
        "gen_ai.usage.completion_tokens",
        "gen_ai.aggregated_usage.output_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ),
    "total": (
        "gen_ai.usage.total_tokens",
        "llm.token_count.total",
        "llm.usage.total_tokens",
        "ai.usage.totalTokens",
    ),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens",
        "gen_ai.aggregated_usage.cache_read.input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
        "llm.usage.cache_read_input_tokens",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
    ),
    "cache_write": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
        "gen_ai.aggregated_usage.cache_creation.input_tokens",
        "llm.token_count.prompt_details.cache_write",
        "llm.usage.cache_creation_input_tokens",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
    ),
    "cache_write_5m": (
        "gen_ai.usage.cache_creation.ephemeral_5m.input_tokens",
        "gen_ai.usage.cache_creation.5m.input_tokens",
        "gen_ai.usage.cache_creation.ephemeral_5m_input_tokens",
        "gen_ai.usage.details.ephemeral_5m_input_tokens",
    ),
    "cache_write_1h": (
        "gen_ai.usage.cache_creation.ephemeral_1h.input_tokens",
        "gen_ai.usage.cache_creation.1h.input_tokens",
        "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens",
        "gen_ai.usage.details.ephemeral_1h_input_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thoughts_tokens",
        "llm.token_count.completion_details.reasoning",
        "llm.usage.reasoning_tokens",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
    ),
    "audio_input": (
        "gen_ai.usage.audio.input_tokens",
        "gen_ai.usage.input_audio_tokens",
        "gen_ai.usage.details.input_audio_tokens",
        "llm.token_count.prompt_details.audio",
    ),
    "audio_output": (
        "gen_ai.usage.audio.output_tokens",
        "gen_ai.usage.output_audio_tokens",
        "gen_ai.usage.details.output_audio_tokens",
        "llm.token_count.completion_details.audio",
    ),
    "audio_cache_read": (
        "gen_ai.usage.audio.cache_read.input_tokens",
        "gen_ai.usage.details.cache_audio_read_tokens",
    ),
    "billed_input": ("cohere.usage.billed_input_tokens",),
    "billed_output": ("cohere.usage.billed_output_tokens",),
    "cost": ("gen_ai.usage.cost",),
    "provider": (
        "gen_ai.provider.name",
        "gen_ai.system",
        "llm.provider",
        "llm.system",
        "ai.model.provider",
    ),
    "address": ("server.address",),
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "response_model": (
        "gen_ai.response.model",
        "llm.response.model_name",
        "llm.response.model",
        "ai.response.model",
    ),
    "request_model": (
        "gen_ai.request.model",
        "llm.request.model_name",
        "llm.model_name",
        "embedding.model_name",
        "reranker.model_name",
        "llm.request.model",
        "ai.model.id",
    ),
    "response_id": ("gen_ai.response.id", "llm.response.id", "ai.response.id"),
    "tier": (
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "gen_ai.response.service_tier",
        "anthropic.response.service_tier",
        "openai.request.service_tier",
        "gen_ai.openai.request.service_tier",
        "gen_ai.request.service_tier",
    ),
    "batch": ("gen_ai.request.batch", "lumina.batch"),
    "session": (
        "session.id",
        "gen_ai.conversation.id",
        "langfuse.session.id",
        "traceloop.association.properties.session_id",
        "session_id",
    ),
    "user": (
        "user.id",
        "enduser.id",
        "langfuse.user.id",
        "traceloop.association.properties.user_id",
        "user_id",
    ),
}
"""What is meant -> how it is written, the one that counts most first."""

FIELD_OF: dict[str, tuple[str, int]] = {
    key: (field, rank) for field, keys in SPELLINGS.items() for rank, key in enumerate(keys)
}
CALL_KEYS = frozenset(FIELD_OF)
LABELS = ("session", "user")
BESIDE = ("provider", "address", "operation", "tier", "batch")
"""Said of calls, and of much that is none: alone they make no call of a span."""

PICO = 10**12
"""Costs are whole numbers of a trillionth of a dollar: exact for every published price of a token,
and sums of them do not depend on their order."""

_COUNTS = (
    "input",
    "output",
    "total",
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "audio_input",
    "audio_output",
    "audio_cache_read",
    "billed_input",
    "billed_output",
)


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """The tokens of a call by type. `input` includes what was read from and written to a cache;

    `output` includes reasoning. `cache_write` includes both lifetimes.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    audio_cache_read: int = 0


class Call(msgspec.Struct, frozen=True, gc=False):
    """What the attributes of a span say of a call. `tokens` is None where no usage was said.

    `told` counts the token types that were said: of two spans of one response the better witness.
    `billed` are the input and output tokens that are paid for, where a provider says that these are
    others; `said_cost` is what the provider says that the call cost, in trillionths of a dollar.
    """

    tokens: Tokens | None = None
    told: int = 0
    provider: str = ""
    address: str = ""
    operation: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    tier: str = ""
    batch: bool = False
    billed: tuple[int, int] | None = None
    said_cost: int | None = None

    @property
    def model(self) -> str:
        """Return the model that answered, else the one that was asked for."""
        return self.response_model or self.request_model


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a call costs, in trillionths of a dollar; not `known`: nobody has a price for it."""

    input: int = 0
    output: int = 0
    known: bool = True


NO_PRICE = Cost(known=False)


class CallState(msgspec.Struct):
    """A call in a tree: what its span says of it, and what was worked out. See `rollup`."""

    call: Call | None = None
    """As last read; None: to be read again."""
    response_id: str = ""
    """Under which it is grouped with other spans of the same response."""
    is_duplicate: bool = False
    """Another span of the same response counts instead."""
    cost: Cost | None = None
    """None: nobody has said."""
    share: Share | None = None
    """What it adds to the sums above it, as last worked out."""
    changed: dict[str, Any] = {}
    """Where to note, by span id, that the share changed."""


class Share(msgspec.Struct, frozen=True, gc=False):
    """What one span adds to a sum beyond what the spans below it do; `cost` None: no price."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost: int | None


def read_call(attributes: Mapping[str, Any]) -> Call:
    """Return what attributes, in any of the spellings, say of a call. Never raises."""
    counts: dict[str, int] = {}
    texts: dict[str, str] = {}
    ranks: dict[str, int] = {}
    batch, cost = False, None
    for key in attributes.keys() & CALL_KEYS:
        field, rank = FIELD_OF[key]
        if rank >= ranks.get(field, 1_000):
            continue
        value = attributes[key]
        if field in _COUNTS:
            count = _count(value)
            if count is not None:
                counts[field], ranks[field] = count, rank
        elif field == "cost":
            cost, ranks[field] = _money(value), rank
        elif field == "batch":
            batch, ranks[field] = value is True, rank
        elif isinstance(value, str) and value:
            texts[field], ranks[field] = value, rank
    operation = texts.get("operation", "")
    tier = texts.get("tier", "")
    return Call(
        _tokens(counts, operation),
        len(counts),
        texts.get("provider", ""),
        texts.get("address", ""),
        operation,
        texts.get("request_model", ""),
        texts.get("response_model", ""),
        texts.get("response_id", ""),
        tier,
        batch or tier == "batch",
        (counts.get("billed_input", 0), counts.get("billed_output", 0))
        if "billed_input" in counts or "billed_output" in counts
        else None,
        cost,
    )


def label(attributes: Mapping[str, Any], field: str) -> str | None:
    """Return the session or user that attributes name, None if they name none."""
    for key in SPELLINGS[field]:
        text = label_text(attributes.get(key))
        if text:
            return text
    return None


def label_text(value: Any) -> str:
    """Return a label's value as text, empty for what is none."""
    if isinstance(value, str):
        return value[:256]
    return str(value) if type(value) is int and -(1 << 63) <= value < 1 << 64 else ""


def usd(pico: int) -> Decimal:
    """Return trillionths of a dollar as dollars, exactly."""
    return Decimal(pico).scaleb(-12)


def pico(amount: Decimal) -> int:
    """Return dollars as whole trillionths, rounded to the nearest."""
    return int(amount.scaleb(12).to_integral_value())


def _tokens(counts: Mapping[str, int], operation: str) -> Tokens | None:
    """Return the tokens as the conventions count them; what was said may be counted otherwise.

    Some count the cache beside the input, or reasoning beside the output. Where the parts are more
    than the whole, or where only that gives the total, they are beside it.
    """
    get = counts.get
    read = get("cache_read", 0)
    written = max(get("cache_write", 0), get("cache_write_5m", 0) + get("cache_write_1h", 0))
    cached, reasoning, total = read + written, get("reasoning", 0), get("total")
    if operation == "embeddings" and total and not get("input"):
        counts = {**counts, "input": total}
        get = counts.get
    if (
        not any(get(field) for field in ("input", "output", "cache_read", "reasoning"))
        and not written
    ):
        return None
    input_, output = get("input", 0), get("output", 0)
    if cached and (cached > input_ or total == input_ + output + cached):
        input_ += cached
    if reasoning > output:
        output += reasoning
    audio = min(get("audio_input", 0), input_)
    return Tokens(
        input_,
        output,
        read,
        written,
        get("cache_write_5m", 0),
        get("cache_write_1h", 0),
        reasoning,
        audio,
        min(get("audio_output", 0), output),
        min(get("audio_cache_read", 0), read, audio),
    )


def _count(value: Any) -> int | None:
    """Return a count of tokens, None for what is none; a double may carry one."""
    if type(value) is int:
        return value if value >= 0 else None
    if type(value) is float and value.is_integer() and 0 <= value < 2**53:
        return int(value)
    return None


def _money(value: Any) -> int | None:
    """Return dollars as trillionths, None for what is no amount."""
    if type(value) in (int, float) and 0 <= value < 10**9:
        return pico(Decimal(str(value)))
    return None
