"""Prices worked out by hand, and the prices of files.

`support/prices.txt` has the cases: under the page that publishes the rates, each call with its usage,
its rates in dollars for a million tokens, and the sum, in millionths. `charge` must give the amount
from these rates, and the price book, where genai-prices is installed, from what it knows itself.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.model.usage import NO_PRICE, Call, Cost, Tokens, read_call, usd
from lumina_stream.relay.prices import PriceBook, PriceFile, Rate, Rates, charge, read_prices

NOON = int(datetime(2026, 10, 20, 12, tzinfo=UTC).timestamp()) * 10**9
"""A day on which all of these prices held, in DeepSeek's full hours."""


class Case(NamedTuple):
    """A call, the rates of the page in `source`, and what it costs."""

    what: str
    call: Call
    rates: Rates
    sum: str
    dollars: Decimal
    source: str


def numbers(text: str) -> dict[str, str]:
    return dict(word.split("=") for word in text.split())


def read_cases(table: str) -> list[Case]:
    """Read the table: a page, and below it the calls, each with its usage, rates and sum."""
    cases: list[Case] = []
    source = ""
    lines = iter(table.strip().splitlines())
    for line in lines:
        if line.startswith("# "):
            source = line[2:]
            continue
        what, _, who = line.partition(": ")
        provider, model, *tier = who.split()
        usage, _, rates = next(lines).partition(" @ ")
        terms, _, dollars = next(lines).strip().partition(" = ")
        call = Call(
            Tokens(**{field: int(count) for field, count in numbers(usage).items()}),
            1,
            provider,
            response_model=model,
            tier="".join(tier),
            batch=tier == ["batch"],
        )
        found = {field: Rate(Decimal(text)) for field, text in numbers(rates).items()}
        cases.append(Case(what, call, found, terms, Decimal(dollars), source))
    return cases


CASES = read_cases((Path(__file__).parent / "support" / "prices.txt").read_text("utf-8"))


def total(cost: Cost | None) -> Decimal:
    assert cost is not None and cost.known
    return usd(cost.input + cost.output)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    pytest.importorskip("genai_prices")
    book = PriceBook()
    book.load()
    assert book.failure is None
    return book


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_by_hand(case: Case) -> None:
    """The rates of the page give the amount worked out by hand."""
    terms = [term.split("*") for term in case.sum.split(" + ")]
    assert sum(Decimal(n) * Decimal(rate) for n, rate in terms) == case.dollars * 1_000_000
    assert case.call.tokens is not None
    assert total(charge(case.rates, case.call.tokens)) == case.dollars, case.source


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_by_the_book(case: Case, book: PriceBook) -> None:
    """The book finds those rates by itself."""
    assert total(book.price(case.call, NOON)) == case.dollars, case.source


def test_there_are_enough() -> None:
    """Forty prices, each with its source."""
    assert len(CASES) >= 40 and all(case.source.startswith("https://") for case in CASES)


def test_cache_greater_than_input(book: PriceBook) -> None:
    """An input that was counted without its cache is charged beside it: 10 fresh, 900 read."""
    call = read_call(
        {
            "gen_ai.provider.name": "anthropic",
            "gen_ai.response.model": "claude-sonnet-4-5",
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.cache_read.input_tokens": 900,
        }
    )
    # 10*3 + 900*0.30
    assert total(book.price(call, NOON)) == Decimal("0.0003")


def test_a_price_is_of_its_day(book: PriceBook) -> None:
    """o3 became cheaper on 10 June 2025: 1000*10 before, 1000*2 since."""
    call = Call(Tokens(1000), 1, "openai", response_model="o3")
    before = int(datetime(2025, 6, 9, tzinfo=UTC).timestamp()) * 10**9
    after = int(datetime(2025, 6, 10, tzinfo=UTC).timestamp()) * 10**9
    assert total(book.price(call, before)) == Decimal("0.01")
    assert total(book.price(call, after)) == Decimal("0.002")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-unheard-of"),
        ("ollama", "llama3.2"),
        ("my-gateway", "gpt-4o"),
        ("openai", ""),
        ("openai", "whisper-1"),  # paid by the hour, not by tokens
        ("", "llama3.2-mine"),
    ],
)
def test_unknown_is_no_price(provider: str, model: str, book: PriceBook) -> None:
    """What nobody publishes a price for has none: not zero, and not somebody else's."""
    call = Call(Tokens(1000, 10), 2, provider, response_model=model)
    assert book.price(call, NOON) == NO_PRICE


def test_who_is_paid(book: PriceBook) -> None:
    """The address counts most: another provider's server behind OpenAI's client."""
    call = Call(
        Tokens(1000, 100), 2, "openai", "api.groq.com", response_model="llama-3.3-70b-versatile"
    )
    assert total(book.price(call, NOON)) == Decimal("0.000669")  # 1000*0.59 + 100*0.79
    local = Call(Tokens(1000), 1, "openai", "127.0.0.1", response_model="gpt-4o-mini")
    assert total(book.price(local, NOON)) == Decimal("0.00015")


def test_the_asked_model_where_the_answer_names_none(book: PriceBook) -> None:
    """Also where the answer names one that nobody knows, as deployments do."""
    call = Call(Tokens(1000), 1, "openai", request_model="gpt-4o-mini", response_model="prod-7")
    assert total(book.price(call, NOON)) == Decimal("0.00015")


def test_what_is_billed_may_be_less(book: PriceBook) -> None:
    """Cohere bills without its own prompt: 1000*2.50 + 100*10 of 1500 and 120 tokens."""
    call = read_call(
        {
            "gen_ai.provider.name": "cohere",
            "gen_ai.request.model": "command-r-plus",
            "gen_ai.usage.input_tokens": 1500,
            "gen_ai.usage.output_tokens": 120,
            "cohere.usage.billed_input_tokens": 1000,
            "cohere.usage.billed_output_tokens": 100,
        }
    )
    assert total(book.price(call, NOON)) == Decimal("0.0035")


def test_what_the_provider_says_that_it_cost() -> None:
    """Taken where nobody has a price, and only there."""
    book = PriceBook(published=False)
    said = {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 10}
    call = read_call({**said, "gen_ai.usage.cost": 0.0004})
    assert book.price(call, NOON) == Cost(300_000_000, 100_000_000)
    for no_amount in (-1, float("nan"), "1", True):
        assert book.price(read_call({**said, "gen_ai.usage.cost": no_amount}), NOON) == NO_PRICE


def test_without_published_prices() -> None:
    """Not loaded: not known yet. Left out: no price."""
    call = Call(Tokens(1000), 1, "openai", response_model="gpt-4o-mini")
    assert PriceBook().price(call, NOON) is None
    assert PriceBook(published=False).price(call, NOON) == NO_PRICE


# --- against genai-prices' own sums ------------------------------------------------------------

MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-audio"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
]


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """Usage as genai-prices takes it: parts no greater than their wholes."""
    size = st.integers(0, 300_000)
    fresh, read, brief, hour, audio = (draw(size) for _ in range(5))
    said, spoken = draw(size), draw(size)
    return {
        "input_tokens": fresh + read + brief + hour + audio,
        "cache_read_tokens": read,
        "cache_write_tokens": brief + hour,
        "cache_write_5m_tokens": brief,
        "cache_write_1h_tokens": hour,
        "input_audio_tokens": audio,
        "cache_audio_read_tokens": 0,
        "output_tokens": said + spoken,
        "output_audio_tokens": spoken,
    }


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODELS), usages())
def test_our_sums_are_theirs(
    book: PriceBook, model: tuple[str, str], usage: dict[str, int]
) -> None:
    """Any usage of these models costs what genai-prices itself says."""
    genai_prices = pytest.importorskip("genai_prices")
    provider, name = model
    when = datetime.fromtimestamp(NOON / 1e9, UTC)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(**usage), name, provider_id=provider, genai_request_timestamp=when
    ).total_price
    tokens = Tokens(
        usage["input_tokens"],
        usage["output_tokens"],
        usage["cache_read_tokens"],
        usage["cache_write_tokens"],
        usage["cache_write_5m_tokens"],
        usage["cache_write_1h_tokens"],
        audio_input=usage["input_audio_tokens"],
        audio_output=usage["output_audio_tokens"],
    )
    ours = total(book.price(Call(tokens, 1, provider, response_model=name), NOON))
    assert abs(ours - theirs) <= Decimal("1e-12")


# --- price files -------------------------------------------------------------------------------

FILE = """
[[prices]]
provider = "ollama"
model = "llama3*"
input = 0.02
output = 0.04

[[prices]]
model = "house-model"
input = 1
output = 2
cache_read = 0.1
batch = 0.5
request = 5
tiers = [{ above = 1000, input = 3, output = 4 }]
since = 2026-01-01
until = 2026-11-01

[[prices]]
provider = "openai"
model = "gpt-4o*"
discount = 0.2
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, name: str = "prices.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def file_price(book: PriceBook, tokens: Tokens, time_ns: int = NOON, **said: Any) -> Cost | None:
    return book.price(Call(tokens, 1, **said), time_ns)


def test_local_and_house_models(written: Callable[..., Path]) -> None:
    """Rates of a file need nothing else: the published prices are not even loaded."""
    book = PriceBook([read_prices(written(FILE))])
    local = file_price(book, Tokens(1000, 100), provider="Ollama", response_model="llama3.2:3b")
    assert total(local) == Decimal("0.000024")  # 1000*0.02 + 100*0.04
    house = {"provider": "us", "request_model": "House-Model"}
    # 500*1 + 400*0.1 + 100*2 of a million, 5 of a thousand
    assert total(file_price(book, Tokens(900, 100, cache_read=400), **house)) == Decimal("0.00574")
    # 1001*3 + 100*4, and the call
    assert total(file_price(book, Tokens(1001, 100), **house)) == Decimal("0.008403")
    # half of 100*1 and of the call
    assert total(file_price(book, Tokens(100), batch=True, **house)) == Decimal("0.00255")
    assert not book.is_loaded


def test_a_file_has_its_days(written: Callable[..., Path]) -> None:
    """Before `since`, and from `until` on, an entry says nothing."""
    book = PriceBook([read_prices(written(FILE))], published=False)
    for day, known in ((datetime(2025, 12, 31), False), (datetime(2026, 1, 1), True),
                       (datetime(2026, 10, 31), True), (datetime(2026, 11, 1), False)):  # fmt: skip
        time_ns = int(day.replace(tzinfo=UTC).timestamp()) * 10**9
        cost = file_price(book, Tokens(1), time_ns, response_model="house-model")
        assert cost is not None and cost.known is known


def test_a_negotiated_discount(written: Callable[..., Path], book: PriceBook) -> None:
    """A fifth off the published price: four fifths of 1000*0.15 + 100*0.60."""
    own = PriceBook([read_prices(written(FILE))])
    own.load()
    cost = file_price(own, Tokens(1000, 100), provider="openai", response_model="gpt-4o-mini")
    assert total(cost) == Decimal("0.000168")


def test_json_and_the_first_that_applies(written: Callable[..., Path]) -> None:
    """A file may be JSON; of two that apply the first one counts."""
    first = written('{"prices": [{"model": "*", "input": 0.10}]}', "own.json")
    book = PriceBook([read_prices(first), read_prices(written(FILE))], published=False)
    cost = file_price(book, Tokens(1_000_000), provider="ollama", response_model="llama3")
    assert total(cost) == Decimal("0.1")
    # No rate for output, so none for the call.
    assert file_price(book, Tokens(1, 1), response_model="x") == NO_PRICE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[prices]]\nmodel = 'm'", "give rates"),
        ("[[prices]]\nmodel = 'm'\ninput = -1", "-1 is no price"),
        ("[[prices]]\nmodel = 'm'\ninput = nan", "NaN"),
        ("[[prices]]\nmodel = 'm'\ninput = 1\ndiscount = 0.1", "not both"),
        ("[[prices]]\nmodel = 'm'\ndiscount = 20", "discount is 20"),
        ("[[prices]]\nmodel = 'm'\ninptu = 1", "inptu"),
        ("[[prices]]\ninput = 1", "model"),
        ("[[prices]]\nmodel = 'm'\ninput = 1\ntiers = [{above = 1, output = 2}]", "lacks"),
        ("[[prices", "no price file"),
        ("prices = 3", "no price file"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    text: str, says: str, written: Callable[..., Path]
) -> None:
    """Before the relay starts, with the file and the entry."""
    with pytest.raises(ConfigurationError, match=says):
        read_prices(written(text))


def test_a_missing_file(tmp_path: Path) -> None:
    """Its name is in the message."""
    with pytest.raises(ConfigurationError, match=r"none\.toml"):
        read_prices(tmp_path / "none.toml")


counts = st.integers(0, 1 << 70)


@given(
    st.builds(Tokens, *[counts] * 10),
    st.dictionaries(
        st.sampled_from([*Tokens.__struct_fields__, "request"]),
        st.builds(Rate, st.decimals(0, 1000, places=6)),
    ),
)
def test_any_tokens_at_any_rates(tokens: Tokens, rates: Rates) -> None:
    """Parts greater than their whole, of whatever size, raise nothing."""
    charge(rates, tokens)
    assert PriceBook([PriceFile()], published=False).price(Call(tokens), 1 << 80) == NO_PRICE
