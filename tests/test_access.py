"""Who may do what: every combination of token, Host, Origin and role that matters."""

import hmac

import pytest

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.relay.access import Access, Asked, is_loopback
from lumina_stream.relay.token_watch import fixed_tokens
from lumina_stream.tokens import digest_of, token_of

OPEN = Access("127.0.0.1", 4318)
GUARDED = Access("0.0.0.0", 4318, tokens=fixed_tokens("w" * 20, "r" * 20))


def ask(access: Access, role="read", host="127.0.0.1:4318", origin=None, token=None, **more):
    authorization = None if token is None else f"Bearer {token}"
    denied = access.decide(Asked(role, host, origin, authorization, **more))
    return 200 if denied is None else denied.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4318", "localhost:4318", "LOCALHOST:4318", "[::1]:4318"]
)
def test_loopback_names_of_this_port_pass(host: str) -> None:
    """A browser or a program on this machine reaches the relay by any of its names."""
    assert ask(OPEN, host=host) == 200
    assert ask(OPEN, role="write", host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:4318",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:4318.evil.example",
        "127.0.0.1.evil.example:4318",
        "localhost.evil.example:4318",
        "evillocalhost:4318",
        "0x7f000001:4318",
        "2130706433:4318",
        "127.1:4318",
        "[::ffff:127.0.0.1]:4318",
        "localhost:4318@evil.example",
    ],
)
def test_other_hosts_are_refused(host: str | None) -> None:
    """A name that was rebound to this machine, and look-alikes, do not pass."""
    assert ask(OPEN, host=host) == 403


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:4318", "http://localhost:4318", "http://[::1]:4318"]
)
def test_own_origins_pass(origin: str) -> None:
    """The dashboard's own page may use the relay."""
    assert ask(OPEN, origin=origin) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost",
        "http://localhost:4319",
        "https://localhost:4318",
        "http://localhost:4318.evil.example",
        "http://localhost:4318@evil.example",
        "http://127.0.0.1.evil.example:4318",
        "http://xlocalhost:4318",
        "file://",
    ],
)
@pytest.mark.parametrize("token", [None, "w" * 20])
def test_other_origins_are_refused_whatever_they_know(origin: str, token: str | None) -> None:
    """A page of another origin is refused on every role, even with a valid token."""
    assert ask(OPEN, origin=origin) == 403
    assert ask(OPEN, role="write", origin=origin) == 403
    assert ask(GUARDED, role="write", origin=origin, token=token) == 403


def test_allowed_hosts_and_origins() -> None:
    """`--allow-host` and `--allow-origin` let a proxy's name in, and nothing like it."""
    access = Access(
        "127.0.0.1", 4318, allow_hosts=["traces.example"], allow_origins=["https://traces.example/"]
    )
    assert ask(access, host="traces.example") == 200
    assert ask(access, host="traces.example:8443", origin="https://traces.example") == 200
    assert ask(access, host="xtraces.example") == 403
    assert ask(access, host="traces.example.evil:4318") == 403
    assert ask(access, host="traces.example", origin="http://traces.example") == 403


@pytest.mark.parametrize("origin", ["traces.example", "https://traces.example/path", "*", "null"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    """A misspelt `--allow-origin` is said at once, not found out by a refused page."""
    with pytest.raises(ConfigurationError):
        Access("127.0.0.1", 4318, allow_origins=[origin])


def test_tokens() -> None:
    """A missing or wrong token is 401, a token of the other role 403; a right one needs no Host."""
    assert ask(GUARDED, host="relay.example", token="r" * 20) == 200
    assert ask(GUARDED, role="write", host=None, token="w" * 20) == 200
    assert ask(GUARDED) == ask(GUARDED, host="relay.example") == 401
    assert ask(GUARDED, token="nonsense") == 401
    assert ask(GUARDED, token="") == 401
    assert ask(GUARDED, role="write", token="r" * 20) == 403
    assert ask(GUARDED, token="w" * 20) == 403
    assert ask(GUARDED, token="r" * 19) == 401
    assert ask(GUARDED, token="é" * 20) == 401


def test_one_token_for_both_roles() -> None:
    """LUMINA_TOKEN serves both."""
    both = Access("0.0.0.0", 4318, tokens=fixed_tokens("t" * 8, "t" * 8))
    assert ask(both, token="t" * 8) == ask(both, role="write", token="t" * 8) == 200


def test_a_token_on_loopback_is_asked_for_too() -> None:
    """Who sets a token wants it, wherever the relay listens."""
    access = Access("127.0.0.1", 4318, tokens=fixed_tokens("w", "r"))
    assert ask(access) == 401
    assert ask(access, token="r") == 200


def test_a_header_that_comes_twice_is_refused() -> None:
    """Two Hosts or Origins are an attempt to be read differently by two parties."""
    assert ask(OPEN, repeated=True) == 403


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "relay.example", "::ffff:127.0.0.1x"]
)
def test_an_address_that_others_reach_needs_tokens(host: str) -> None:
    """Without tokens, or with one of two, such a relay does not start."""
    with pytest.raises(ConfigurationError, match="token"):
        Access(host, 4318)
    with pytest.raises(ConfigurationError, match="token"):
        Access(host, 4318, tokens=fixed_tokens("w", None))
    Access(host, 4318, tokens=fixed_tokens("w", "r"))


def test_loopback_addresses() -> None:
    """All of 127/8 and ::1 are this machine only."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example"]))


def test_several_tokens_are_valid_at_once_until_they_are_taken_away() -> None:
    """Rotation: the new one before the old one goes; nothing else changes for anybody."""
    old, new = (token_of("write", name * 20, name) for name in "ab")
    reader = token_of("read", "r" * 20, "r")
    access = Access("0.0.0.0", 4318, tokens=[old, new, reader])
    assert ask(access, "write", token="a" * 20) == ask(access, "write", token="b" * 20) == 200
    access.replace_tokens([new, reader])
    assert ask(access, "write", token="a" * 20) == 401
    assert ask(access, "write", token="b" * 20) == ask(access, token="r" * 20) == 200
    with pytest.raises(ConfigurationError, match="token"):
        access.replace_tokens([new])
    assert ask(access, token="r" * 20) == 200, "what is refused changes nothing"


def test_a_session_may_what_its_token_may() -> None:
    """A cookie of a read token sees and does not write; one of a write token the other way round."""
    reader, writer = token_of("read", "r" * 20, ""), token_of("write", "w" * 20, "")
    access = Access("127.0.0.1", 4318, tokens=[reader, writer])
    assert ask(access, session=reader) == 200
    assert ask(access, "write", session=reader) == 403
    assert ask(access, "write", session=writer) == 200
    assert ask(access, session=writer) == 403
    assert ask(access, host="evil.example", session=reader) == 403


def test_every_token_is_compared_by_its_digest_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 16: as many comparisons, of equal length, whichever token matches and if none does."""
    compared: list[int] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = [token_of("both", name * 20, "") for name in "abc"]
    access = Access("127.0.0.1", 4318, tokens=tokens)
    for given in ("a" * 20, "c" * 20, "a" * 19 + "b", "x", ""):
        compared.clear()
        ask(access, token=given)
        assert compared == [64, 64, 64], given
    assert access.find(digest_of("b" * 20)) == tokens[1]
