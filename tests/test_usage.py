"""What attributes say of a call, in every spelling."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model.usage import (
    CALL_KEYS,
    FIELD_OF,
    SPELLINGS,
    Tokens,
    label,
    pico,
    read_call,
    usd,
)


def tokens(**attributes: int) -> Tokens | None:
    """Return the tokens of a span with the canonical spellings of these fields."""
    return read_call({SPELLINGS[f][0]: n for f, n in attributes.items()}).tokens


@pytest.mark.parametrize(
    "spelled",
    [
        {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7},
        {"gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 7},
        {"llm.token_count.prompt": 100, "llm.token_count.completion": 7},
        {"llm.usage.prompt_tokens": 100, "llm.usage.completion_tokens": 7},
        {"ai.usage.promptTokens": 100, "ai.usage.completionTokens": 7},
        {"ai.usage.inputTokens": 100.0, "ai.usage.outputTokens": 7.0},
    ],
)
def test_spellings_of_in_and_out(spelled: dict[str, Any]) -> None:
    """OpenTelemetry's, its older ones, OpenInference's and the Vercel SDK's say the same."""
    assert read_call(spelled).tokens == Tokens(100, 7)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (
            {
                "gen_ai.provider.name": "anthropic",
                "gen_ai.request.model": "claude-sonnet-4-5",
                "gen_ai.response.model": "claude-sonnet-4-5-20250929",
                "gen_ai.response.id": "msg_1",
                "gen_ai.usage.input_tokens": 100,
                "gen_ai.usage.cache_read.input_tokens": 60,
                "gen_ai.usage.cache_creation.input_tokens": 30,
            },
            Tokens(100, 0, 60, 30),
        ),
        (
            {
                "llm.system": "anthropic",
                "llm.model_name": "claude-sonnet-4-5-20250929",
                "llm.token_count.prompt": 100,
                "llm.token_count.prompt_details.cache_read": 60,
                "llm.token_count.prompt_details.cache_write": 30,
            },
            Tokens(100, 0, 60, 30),
        ),
        (
            {
                "gen_ai.system": "anthropic",
                "gen_ai.request.model": "claude-sonnet-4-5-20250929",
                "gen_ai.usage.input_tokens": 100,
                "gen_ai.usage.cache_read_input_tokens": 60,
                "gen_ai.usage.cache_creation_input_tokens": 30,
            },
            Tokens(100, 0, 60, 30),
        ),
    ],
)
def test_a_call_in_three_dialects(spelled: dict[str, Any], expected: Tokens) -> None:
    """Provider, model and cache are read whatever wrote them."""
    call = read_call(spelled)
    assert (call.provider, call.model, call.tokens) == (
        "anthropic",
        "claude-sonnet-4-5-20250929",
        expected,
    )


def test_the_first_spelling_counts_most() -> None:
    """A span that carries an older spelling too means the newer one, in whatever order they came."""
    both = {"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.input_tokens": 2}
    for attributes in (both, dict(reversed(both.items()))):
        assert read_call(attributes).tokens == Tokens(2)
    assert read_call({**both, "gen_ai.usage.input_tokens": "many"}).tokens == Tokens(1)


@pytest.mark.parametrize("field", ["input", "output", "provider", "request_model", "response_id"])
def test_of_all_spellings_the_canonical_one(field: str) -> None:
    """However many a span carries."""
    spelled: dict[str, Any] = {key: f"{rank}" for rank, key in enumerate(SPELLINGS[field])}
    if field in ("input", "output"):
        spelled = {key: rank + 1 for rank, key in enumerate(SPELLINGS[field])}
        found = read_call(spelled).tokens
        assert found is not None and getattr(found, field) == 1
    else:
        assert getattr(read_call(spelled), field) == "0"


def test_cache_greater_than_input_is_beside_it() -> None:
    """More cached tokens than input: the input was counted without them."""
    assert tokens(input=10, cache_read=900, cache_write=100) == Tokens(1010, 0, 900, 100)
    assert tokens(input=1000, cache_read=900, cache_write=100) == Tokens(1000, 0, 900, 100)


def test_a_total_tells_how_the_cache_was_counted() -> None:
    """Where only the cache beside the input gives the total, it is beside it."""
    beside = tokens(input=500, output=50, cache_read=100, total=650)
    within = tokens(input=500, output=50, cache_read=100, total=550)
    assert (beside, within) == (Tokens(600, 50, 100), Tokens(500, 50, 100))


def test_parts_of_the_output() -> None:
    """Reasoning is in the output, unless it is more than that."""
    assert tokens(input=1, output=90, reasoning=80) == Tokens(1, 90, reasoning=80)
    assert tokens(input=1, output=10, reasoning=80) == Tokens(1, 90, reasoning=80)


def test_cache_writes_by_lifetime() -> None:
    """Two lifetimes add up to the writes, whether their sum was said or not."""
    anthropic = "gen_ai.usage.cache_creation.ephemeral_%s.input_tokens"
    assert read_call({anthropic % "5m": 1, anthropic % "1h": 2}).tokens == Tokens(3, 0, 0, 3, 1, 2)
    assert tokens(input=900, cache_write_5m=100, cache_write_1h=200) == Tokens(
        900, 0, 0, 300, 100, 200
    )


def test_embeddings_may_say_a_total_only() -> None:
    """All of an embedding's tokens are input; of another call a total alone says too little."""
    spelled = {"gen_ai.operation.name": "embeddings", "gen_ai.usage.total_tokens": 8}
    assert read_call(spelled).tokens == Tokens(8)
    assert read_call({"gen_ai.usage.total_tokens": 8}).tokens is None


def test_no_usage_is_none() -> None:
    """A model without usage is a call of which no tokens are known, which is not zero."""
    call = read_call({"gen_ai.request.model": "gpt-4o"})
    assert call.tokens is None and call.model == "gpt-4o"


def test_batches() -> None:
    """A batch says so in its service tier or by an attribute."""
    assert read_call({"openai.response.service_tier": "batch"}).batch
    assert read_call({"lumina.batch": True}).batch
    assert not read_call({"gen_ai.request.batch": "yes"}).batch


def test_labels() -> None:
    """Sessions and users are found under each of their names, numbers included."""
    assert label({"gen_ai.conversation.id": "c"}, "session") == "c"
    assert label({"session.id": "s", "gen_ai.conversation.id": "c"}, "session") == "s"
    assert label({"enduser.id": 42}, "user") == "42"
    assert label({"user.id": ["u"]}, "user") is None


def test_no_spelling_means_two_things() -> None:
    """Each key is in the table once."""
    assert sum(map(len, SPELLINGS.values())) == len(FIELD_OF) == len(CALL_KEYS)


def test_money_is_exact() -> None:
    """A millionth of a cent survives the way to a whole number and back."""
    assert usd(pico(Decimal("0.00000001"))) == Decimal("0.00000001")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
anything = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(CALL_KEYS)), anything | st.integers(0, 10**6)))
def test_any_attributes(attributes: dict[str, Any]) -> None:
    """Nothing that attributes may hold raises, and no part is more than its whole."""
    found = read_call(attributes).tokens
    if found is not None:
        assert found.cache_read + found.cache_write <= found.input
        assert found.audio_cache_read <= found.audio_input <= found.input
        assert max(found.reasoning, found.audio_output) <= found.output
        assert min(found.input, found.output, found.cache_read, found.cache_write) >= 0
