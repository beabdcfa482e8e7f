"""What a call costs: the price files of this relay first, then the published prices of genai-prices.

Decimals throughout, one call at a time. A model that nobody has a price for has none: no guess, no
default. genai-prices takes most of a second and some 30 MB to import, so it is loaded by `load`,
in whatever thread calls it, when the first call is to be priced.
"""

# genai-prices' types are not all exported; it is looked into for the figures behind a price.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, DecimalException, localcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import msgspec

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.model.usage import NO_PRICE, Call, Cost, Tokens, pico

PROVIDERS: dict[str, str] = {
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "google_genai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
"""The conventions' provider names, where genai-prices has another or would take them for another."""
ANSWERS = 4_096
"""Models whose price is remembered; what comes after that is looked up again."""

_MILLION = Decimal(1_000_000)


class Step(msgspec.Struct, frozen=True):
    """A price that depends on how long the input is: `price` for all tokens, above `above` of them."""

    above: int
    price: Decimal


class Rate(msgspec.Struct, frozen=True):
    """Dollars for a million tokens."""

    base: Decimal
    steps: tuple[Step, ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """Return the price for a call with so many input tokens."""
        for step in reversed(self.steps):
            if input_tokens > step.above:
                return step.price
        return self.base


Rates = Mapping[str, Rate]
"""By token type: the fields of `Tokens`, and `request` for a thousand calls."""


def charge(rates: Rates, tokens: Tokens) -> Cost:
    """Return what tokens cost; each is counted once, at the most specific rate that there is.

    A type without a rate of its own costs what its whole does: cached tokens what input does.
    Without any rate that covers the input, or the output, there is no price.
    """

    def of(field: str, count: int) -> tuple[Decimal, int]:
        """Return the charge at a field's own rate, and how many tokens it took."""
        rate = rates.get(field)
        if rate is None or count <= 0:
            return Decimal(0), 0
        return rate.at(tokens.input) * count / _MILLION, count

    with localcontext() as context:
        context.prec = 60  # counts are as large as a hostile event says
        heard, heard_count = of("audio_cache_read", tokens.audio_cache_read)
        read, read_count = of("cache_read", tokens.cache_read - heard_count)
        hour, hour_count = of("cache_write_1h", min(tokens.cache_write_1h, tokens.cache_write))
        brief, brief_count = of("cache_write_5m", min(tokens.cache_write_5m, tokens.cache_write))
        wrote, wrote_count = of("cache_write", tokens.cache_write - hour_count - brief_count)
        # Cached audio that has no rate of its own is paid as what is cached.
        fresh_audio = tokens.audio_input - max(heard_count, tokens.audio_cache_read)
        audio, audio_count = of("audio_input", fresh_audio)
        taken = heard_count + read_count + hour_count + brief_count + wrote_count + audio_count
        plain, plain_count = of("input", tokens.input - taken)
        if taken + plain_count < tokens.input:
            return NO_PRICE
        spoken, spoken_count = of("audio_output", tokens.audio_output)
        thought, thought_count = of(
            "reasoning", min(tokens.reasoning, tokens.output - spoken_count)
        )
        rest = tokens.output - spoken_count - thought_count
        said, said_count = of("output", rest)
        if said_count < rest:
            return NO_PRICE
        request = rates.get("request")
        once = Decimal(0) if request is None else request.at(tokens.input) / 1000
        return Cost(
            pico(heard + read + hour + brief + wrote + audio + plain + once),
            pico(spoken + thought + said),
        )


# --- price files -------------------------------------------------------------------------------


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates of a price file, above so many input tokens."""

    above: int
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    audio_cache_read: Decimal | None = None


class FilePrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a price file: which calls it is for, and either rates or a discount.

    `model` and `provider` are globs, case does not matter; `since` and `until` are days (UTC),
    `until` excluded. Rates are dollars for a million tokens, `request` for a thousand calls.
    `discount` is the part that is taken off the published price: 0.2 leaves four fifths.
    `batch` is what a batch pays of these rates, 0.5 for a half.
    """

    model: str
    provider: str = "*"
    since: date | None = None
    until: date | None = None
    discount: Decimal | None = None
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    audio_cache_read: Decimal | None = None
    request: Decimal | None = None
    batch: Decimal | None = None
    tiers: tuple[Tier, ...] = ()

    def is_for(self, call: Call, day: date) -> bool:
        """Tell whether it applies to a call on a day."""
        if (self.since and day < self.since) or (self.until and day >= self.until):
            return False
        if not fnmatchcase(call.provider.lower(), self.provider.lower()):
            return False
        pattern = self.model.lower()
        names = (call.response_model, call.request_model)
        return any(name and fnmatchcase(name.lower(), pattern) for name in names)


class PriceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price file: the first entry that applies to a call gives its price."""

    prices: tuple[FilePrice, ...] = ()


_RATES = tuple(field for field in Tier.__struct_fields__ if field != "above")


def read_prices(path: Path) -> PriceFile:
    """Read a price file, TOML or (by its name) JSON; raises `ConfigurationError`."""
    try:
        text = path.read_text("utf-8")
        if path.suffix.lower() == ".json":
            data: Any = json.loads(text, parse_float=Decimal)
        else:
            data = tomllib.loads(text, parse_float=Decimal)
        found = msgspec.convert(data, PriceFile)
    except (OSError, ValueError, DecimalException, RecursionError) as error:
        raise ConfigurationError(f"{path} is no price file: {error}") from error
    for number, price in enumerate(found.prices, 1):
        wrong = _what_is_wrong(price)
        if wrong:
            raise ConfigurationError(f"{path}: price {number} ({price.model}): {wrong}")
    return found


def _what_is_wrong(price: FilePrice) -> str:
    given = [f for f in (*_RATES, "request") if getattr(price, f) is not None]
    if price.discount is not None:
        if given or price.tiers:
            return "give rates or a discount, not both"
        if not (price.discount.is_finite() and 0 <= price.discount <= 1):
            return f"discount is {price.discount}; write 0.2 for a fifth less"
        return ""
    if not given:
        return "give rates (input, output, ...) or a discount"
    values = [getattr(price, f) for f in given]
    values += [v for t in price.tiers for f in _RATES if (v := getattr(t, f)) is not None]
    values += [] if price.batch is None else [price.batch]
    bad = [value for value in values if not (value.is_finite() and 0 <= value < 10**9)]
    if bad:
        return f"{bad[0]} is no price"
    for tier in price.tiers:
        if any(getattr(tier, f) is not None and getattr(price, f) is None for f in _RATES):
            return "a tier has a rate that the price itself lacks"
    return ""


def _rates_of_file(price: FilePrice, *, batch: bool) -> Rates:
    factor = price.batch if batch and price.batch is not None else Decimal(1)
    tiers = sorted(price.tiers, key=lambda tier: tier.above)
    rates: dict[str, Rate] = {}
    for field in _RATES:
        base: Decimal | None = getattr(price, field)
        if base is not None:
            steps = tuple(
                Step(tier.above, cast(Decimal, value) * factor)
                for tier in tiers
                if (value := getattr(tier, field)) is not None
            )
            rates[field] = Rate(base * factor, steps)
    if price.request is not None:
        rates["request"] = Rate(price.request * factor)
    return rates


# --- the book ----------------------------------------------------------------------------------


class PriceBook:
    """Prices calls. `published=False` knows only its files. Any thread may use it."""

    def __init__(self, files: Sequence[PriceFile] = (), *, published: bool = True) -> None:
        self._own = tuple(price for one in files for price in one.prices)
        self._wants_published = published
        self._published: _Published | None = None
        self._lock = threading.Lock()
        self.is_loaded = not published
        """Whether every call can be priced now."""
        self.failure: str | None = None
        """Why the published prices are not to be had, None while they are or were not asked for."""

    def load(self) -> None:
        """Load the published prices, if that was not done; they are left out where not installed."""
        with self._lock:
            if self.is_loaded:
                return
            try:
                self._published = _Published()
            except Exception as error:  # another version of it, or none
                self.failure = f"{type(error).__name__}: {error}"
            self.is_loaded = True

    def price(self, call: Call, time_ns: int) -> Cost | None:
        """Return what a call at a time costs, `NO_PRICE` if nobody knows; None: `load` first.

        Where there is no price, what the provider itself said that the call cost. Never raises.
        """
        if call.tokens is None:
            return NO_PRICE
        cost = self._price(call, _billed(call, call.tokens), time_ns)
        if cost is None or cost.known or call.said_cost is None:
            return cost
        whole = call.tokens.input + call.tokens.output
        for_input = call.said_cost * call.tokens.input // whole if whole else call.said_cost
        return Cost(for_input, call.said_cost - for_input)

    def _price(self, call: Call, tokens: Tokens, time_ns: int) -> Cost | None:
        try:
            when = datetime.fromtimestamp(min(max(0, time_ns), 1 << 62) / 1e9, UTC)
            own = next((p for p in self._own if p.is_for(call, when.date())), None)
            if own is not None and own.discount is None:
                return charge(_rates_of_file(own, batch=call.batch), tokens)
            if not self.is_loaded:
                return None
            if self._published is None:
                return NO_PRICE
            rates = self._published.rates(call, when)
            cost = NO_PRICE if rates is None else charge(rates, tokens)
            if own is None or own.discount is None or not cost.known:
                return cost
            left = 1 - own.discount
            return Cost(_scaled(cost.input, left), _scaled(cost.output, left))
        except (ArithmeticError, ValueError, TypeError, AttributeError, LookupError):
            return NO_PRICE


def _billed(call: Call, tokens: Tokens) -> Tokens:
    if call.billed is None:
        return tokens
    return Tokens(call.billed[0], call.billed[1], cache_read=min(tokens.cache_read, call.billed[0]))


def _scaled(amount: int, factor: Decimal) -> int:
    with localcontext() as context:
        context.prec = 60
        return int((amount * factor).to_integral_value())


_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "cache_audio_read_mtok": "audio_cache_read",
    "requests_kcount": "request",
}
"""genai-prices' names for what we count; what it prices besides (images, searches) is not counted."""


class _Published:
    """genai-prices, asked for rates; its own sums take 0.4 ms a call, ours a few microseconds."""

    def __init__(self) -> None:
        from genai_prices import data_snapshot

        self._snapshot = data_snapshot.get_snapshot()
        self._find_provider = data_snapshot.find_provider_by_id
        self._models: dict[tuple[str, str, str, str], Any] = {}

    def rates(self, call: Call, when: datetime) -> Rates | None:
        """Return the rates of a call at a time, None where there are none."""
        key = (call.provider, call.address, call.response_model, call.request_model)
        if key not in self._models:
            if len(self._models) >= ANSWERS:
                self._models.clear()
            self._models[key] = self._find(call)
        found = self._models[key]
        if found is None:
            return None
        model, is_own = found
        context: dict[str, str] = {}
        if is_own:
            if call.batch:
                context["processing"] = "batch"
            elif call.tier and call.tier != "standard":
                context["service_tier"] = call.tier
        return _rates_of_published(model.get_prices(when, context or None))

    def _find(self, call: Call) -> tuple[Any, bool] | None:
        """Return the model that a call used, and whether its provider prices it itself."""
        for name in dict.fromkeys((call.response_model, call.request_model)):
            if not name:
                continue
            try:
                provider = self._provider(call, name)
                model = provider and provider.find_model(
                    name.lower(), all_providers=self._snapshot.providers
                )
            except LookupError:
                continue
            if model:
                return model, any(model is own for own in provider.models)
        return None

    def _provider(self, call: Call, name: str) -> Any:
        """Return who is paid: by the address if it is known, else by name, else by the model."""
        if call.address and "." in call.address:
            try:
                return self._snapshot.find_provider(None, None, f"https://{call.address}/")
            except LookupError:
                pass  # a gateway, or a server of one's own
        said = call.provider.lower().strip()
        if said:
            return self._find_provider(self._snapshot.providers, PROVIDERS.get(said, said))
        return self._snapshot.find_provider(name.lower(), None, None)


def _rates_of_published(prices: Any) -> Rates:
    rates: dict[str, Rate] = {}
    for key, value in vars(prices).items():
        field = _KEYS.get(key)
        if field is None or value is None:
            continue
        tiers = getattr(value, "tiers", None)
        if tiers is None:
            rates[field] = Rate(value)
        else:
            rates[field] = Rate(value.base, tuple(Step(t.start, t.price) for t in tiers))
    return rates
