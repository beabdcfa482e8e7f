"""What is hidden: by key, by pattern, by function; everywhere, and in linear time."""

import re
from typing import Any

import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model.codec import encode
from lumina_stream.recording import redaction
from lumina_stream.recording.redaction import HIDDEN, Redaction, Redactions, redaction_from


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "PASSWORD",
        "db.password",
        "userPassword",
        "X-API-Key",
        "apiKey",
        "APIKey",
        "api_keys",
        "apikey",
        "accessToken",
        "access_token",
        "AWS_SECRET_ACCESS_KEY",
        "Authorization",
        "Set-Cookie",
        "cookies",
        "http.request.header.cookie",
        "credentials",
        "secrets",
        "@token",
        "private_key",
    ],
)
def test_hidden_by_default(key: str) -> None:
    assert Redactions(Redaction()).hides_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.usage.input_tokens",
        "max_tokens",
        "token_count",
        "tokenizer",
        "author",
        "keyboard",
        "access",
        "passenger",
        "secretary",
        "",
        "ключ",
    ],
)
def test_not_hidden_by_default(key: str) -> None:
    assert not Redactions(Redaction()).hides_key(key)


def test_names_given_to_init_are_hidden_beside_the_defaults() -> None:
    redactions = Redactions(redaction_from(["sessionId", "user-name", "пароль"]))
    for key in ("sessionId", "session_id", "SessionID", "user.name", "db.пароль", "password"):
        assert redactions.hides_key(key), key
    for key in ("session", "sessionidentity", "username", "ключ"):
        assert not redactions.hides_key(key), key
    assert Redactions(redaction_from("one")).hides_key("one")
    assert not Redactions(redaction_from(None)).hides_key("password")


def test_hidden_wherever_it_stands(recorded: Recorded) -> None:
    with lumina.trace("span", password="open-p1", attributes={"token": "open-t1"}) as span:
        for _ in range(2):
            span.set_attribute("api_key", "open-a1").set_attribute("list", [{"secret": "open-s1"}])
            span.set_attribute("@graph", {"cookie": "open-c1"})
        span.set_attributes({"deep": {"er": {"authorization": ["open-z1"]}}})
        span.add_event("event", password="open-e1", also={"token": "open-e2"})
        span.add_link(span, {"secret": "open-l1"})
    with lumina.with_attributes(secret="open-w1"), lumina.trace("other"):
        pass
    said = b"".join(encode(event) for event in recorded.poll())
    assert not re.search(b"open-", said)
    assert recorded.attributes("span")["deep"] == {"er": {"authorization": HIDDEN}}
    assert recorded.one("span").attribute_marks()["password"] == "redacted"


def _all_texts(limits: lumina.Limits | None = None, **options: Any) -> tuple[bytes, lumina.Runtime]:
    secret = "someone@example.org"
    with lumina.init(export=False, limits=limits, **options) as runtime:
        with lumina.subscribe() as subscription:
            error = ValueError(f"no {secret}")
            with (
                pytest.raises(ValueError),
                lumina.trace(f"for {secret}", kind=secret, attributes={"a": secret}) as span,
            ):
                span.set_attribute("b", f"x {secret}").set_attribute("b", f"x {secret}")
                span.set_attribute(secret, 1).set_attribute(secret, 1)
                span.set_attributes({"c": [{"d": secret}, {secret: secret}, {secret: {1: 2}}]})
                span.set_attributes({"c": [{"d": secret}]})  # now that its keys are known
                span.add_event(f"e {secret}", f=secret).update_name(f"n {secret}")
                span.record_exception(error)
                raise error
            span = lumina.start_span("message").set_status("error", secret)
            span.end()
            facts = subscription.poll().facts
        return b"\n".join(encode(fact.event) for fact in facts), runtime


def test_patterns_reach_names_keys_values_events_errors_and_stack_traces() -> None:
    said, _ = _all_texts(redact=Redaction(patterns=(redaction.EMAIL,)))
    assert b"example.org" not in said
    assert said.count(HIDDEN.encode()) >= 14
    assert b"example.org" in _all_texts()[0]


def test_a_function_has_the_last_word() -> None:
    def redact(key: str, value: Any) -> Any:
        return "<gone>" if "example" in str(value) else value

    said, runtime = _all_texts(redact=redact)
    assert b"for someone" not in said
    assert b"x someone" not in said
    assert runtime.statistics().faults == 0


def test_a_redactor_that_raises_hides_the_value() -> None:
    def redact(key: str, value: Any) -> Any:
        raise KeyError(key)

    said, runtime = _all_texts(redact=redact)
    assert b"no someone" not in said
    assert runtime.statistics().faults >= 5


@pytest.mark.parametrize("answer", ["\ud800", 2**70, float("nan"), object(), ["x"], b"x", None])
def test_whatever_a_redactor_returns_can_be_encoded(answer: Any) -> None:
    said, runtime = _all_texts(redact=lambda key, value: answer)
    assert runtime.statistics().lost == 0
    assert said


def test_a_redactor_that_traces_itself_does_no_harm() -> None:
    def redact(key: str, value: Any) -> Any:
        lumina.current_span().set_attribute("again", value)
        return value

    with lumina.init(export=False, redact=redact), lumina.trace("span") as span:
        span.set_attribute("k", "v")


def test_redaction_runs_after_cutting() -> None:
    class Counting(str):
        __slots__ = ()

    seen: list[int] = []

    def redact(key: str, value: Any) -> Any:
        seen.append(len(str(value)))
        return value

    with lumina.init(export=False, redact=redact), lumina.trace("span") as span:
        span.set_attribute("k", "x" * 1_000_000)
    assert max(seen) == 8192


@pytest.mark.parametrize("name", ["EMAIL", "BEARER", "API_KEY", "JWT", "CARD"])
def test_shipped_patterns_find_what_they_are_for(name: str) -> None:
    said = {
        "EMAIL": "a.b+c@example.co.uk",
        "BEARER": "Bearer abcdefgh12345",
        "API_KEY": "sk-ant-REDACTED",
        "JWT": "eyJhbGciOi.eyJzdWIiOiIx.abc_def",
        "CARD": "4111 1111 1111 1111",
    }[name]
    pattern: re.Pattern[str] = getattr(redaction, name)
    assert pattern.sub(HIDDEN, f"({said})") == f"({HIDDEN})"
    assert not re.search(r"\([^()]*[+*][^()]*\)[+*]", pattern.pattern), "nested repetition"


def test_keys_made_of_data_do_not_pile_up() -> None:
    redactions = Redactions(Redaction())
    for n in range(10_000):
        redactions.hides_key(f"k{n}")
    assert len(redactions.plain_keys) <= 4096
