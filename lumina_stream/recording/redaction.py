"""Hide what must not leave the program: by key, and by patterns in text.

Runs after cutting and before encoding. A redactor that raises hides the value. The shipped patterns
have no nested repetition, so that they run in linear time on any text.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from lumina_stream.model.limits import DEFAULT_LIMITS, TEXT_HELD_BACK, TEXT_HELD_MOST
from lumina_stream.recording.values import Cleaner, type_of

HIDDEN = "[redacted]"

SENSITIVE_KEYS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "authorization",
    "cookie",
    "credential",
)
"""Hidden when a key has one of these as a whole word: `db.password`, `X-API-Key`, `accessToken`."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W0-9A-Za-z_]+")

EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,24}")
BEARER = re.compile(r"\b(?:[Bb]earer|[Bb]asic) [A-Za-z0-9._~+/=-]{8,2048}")
API_KEY = re.compile(r"\b(?:sk|pk|rk|ghp|gho|xoxb|xoxp|AKIA|AIza)[-_A-Za-z0-9]{12,256}")
JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{5,4096}\.[A-Za-z0-9_-]{5,4096}\.[A-Za-z0-9_-]{0,1024}")
CARD = re.compile(r"\b[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,7}\b")

Redactor: TypeAlias = Callable[[str, Any], Any]
"""Given a key (or `@name`, `@error.message`, ...) and a plain value, return what may leave."""


class Redaction(msgspec.Struct, frozen=True):
    """What to hide. `keys`: whole words of a key; `patterns`: replaced in every text; `function`: has the last word."""

    keys: tuple[str, ...] = SENSITIVE_KEYS
    patterns: tuple[re.Pattern[str], ...] = ()
    function: Redactor | None = None


DEFAULT = Redaction()


def redaction_from(value: "Redaction | Redactor | Iterable[str] | None") -> Redaction:
    """Return the Redaction that `init(redact=...)` means.

    None hides nothing; a function is added to the default keys; names are hidden beside them.
    """
    if value is None:
        return Redaction(keys=())
    if isinstance(value, Redaction):
        return value
    if callable(value):
        return Redaction(function=value)
    if isinstance(value, str):
        value = (value,)
    return Redaction(keys=(*SENSITIVE_KEYS, *(str(name) for name in value)))


class Redactions:
    """Apply a Redaction; remembers its verdict of each key."""

    __slots__ = ("_function", "_patterns", "_words", "faults", "plain_keys", "texts_pass")

    def __init__(self, redaction: Redaction) -> None:
        self._words = tuple(sorted(f"_{'_'.join(_words(key))}_" for key in redaction.keys))
        self._patterns = redaction.patterns
        self._function = redaction.function
        self.texts_pass = not redaction.patterns and redaction.function is None
        """Whether no text needs a look: only keys decide."""
        self.plain_keys: dict[str, bool] = {}
        """Keys judged so far: True for one that passes as it is."""
        self.faults = 0

    def hides_key(self, key: str) -> bool:
        """Tell whether everything under this key is hidden."""
        passes = self.plain_keys.get(key)
        if passes is None:
            if len(self.plain_keys) >= 4096:  # keys made of data: keep the memory bounded
                self.plain_keys.clear()
            sensitive = self._is_sensitive(key)
            if not sensitive and self.key(key) != key:
                return False  # not hidden, and not to be used as it is either
            passes = self.plain_keys[key] = not sensitive
        return not passes

    def key(self, key: str) -> str:
        """Return a key with what the patterns match hidden: a key may be made of data."""
        for pattern in self._patterns:
            key = pattern.sub(HIDDEN, key)
        return key

    def value(self, key: str, value: Any, marks: dict[str, str], path: str | None = None) -> Any:
        """Return a plain value with what must not leave hidden, at any depth."""
        path = key if path is None else path
        if self.hides_key(key):
            marks[path] = "redacted"
            return HIDDEN
        match value:
            case dict():
                return {
                    self.key(k): self.value(k, v, marks, f"{path}.{self.key(k)}")  # pyright: ignore[reportUnknownArgumentType]
                    for k, v in value.items()  # pyright: ignore[reportUnknownVariableType]
                }
            case list():
                return [self.value(key, v, marks, f"{path}[{i}]") for i, v in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            case _:
                return value if self.texts_pass else self._scalar(key, value, marks, path)

    def text(self, field: str, text: str, marks: dict[str, str]) -> str:
        """Return a span's own text (`@name`, `@error.message`, ...) with patterns hidden."""
        if self.texts_pass or not text:
            return text
        hidden = self._scalar(field, text, marks, field)
        return hidden if isinstance(hidden, str) else str(hidden)

    def settled(self, text: str) -> int:
        """Return how much of a growing text can be hidden and sent: no pattern begun there goes on.

        Never the last `TEXT_HELD_BACK` characters, nor a part of a word (keys and addresses have no
        spaces in them) or of what a pattern matches now; beyond `TEXT_HELD_MOST` all of it.
        """
        if len(text) > TEXT_HELD_MOST:
            return len(text)
        cut = len(text) - TEXT_HELD_BACK
        while cut > 0:
            while cut > 0 and not text[cut - 1].isspace():
                cut -= 1
            inside = [
                match.start()
                for pattern in self._patterns
                for match in pattern.finditer(text)
                if match.start() < cut < match.end()
            ]
            if not inside:
                return cut
            cut = min(inside)
        return 0

    def _scalar(self, key: str, value: Any, marks: dict[str, str], path: str) -> Any:
        try:
            shown = value
            if isinstance(shown, str):
                for pattern in self._patterns:
                    shown = pattern.sub(HIDDEN, shown)
            if self._function is not None:
                shown = self._function(key, shown)
                if shown is not value and type_of(shown) is not bool and shown is not None:
                    shown = Cleaner(DEFAULT_LIMITS).clean(shown, path)
        except Exception:
            self.faults += 1
            shown = HIDDEN
        if shown is not value and shown != value:
            marks[path] = "redacted"
        return shown

    def _is_sensitive(self, key: str) -> bool:
        words = _words(key)
        if words and (words[-1] == "tokens" or _is_count(words)):
            return False  # gen_ai.usage.input_tokens is a number of tokens, not a token
        joined = f"_{'_'.join(words)}_"
        singular = f"_{'_'.join(word.removesuffix('s') for word in words)}_"
        return any(word in joined or word in singular for word in self._words)


def _is_count(words: list[str]) -> bool:
    return (
        len(words) > 1 and words[-2] == "token" and words[-1] in ("count", "limit", "type", "usage")
    )


def _words(key: str) -> list[str]:
    """Split a key into lower-case words: `X-API-Key`, `api_key`, `apiKey` are all `api key`."""
    return [word.lower() for word in _WORDS.findall(key)]
