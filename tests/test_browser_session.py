"""A browser trades its token for a cookie, and what that cookie can do and cannot."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay_process import RelayProcess, running_relay
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from lumina_stream.relay.browser_session import LASTS_S, MOST, BrowserSessions
from lumina_stream.tokens import token_of

READ, WRITE = "read-token-of-the-test", "write-token-of-the-test"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay that asks for tokens."""
    data: Path = tmp_path_factory.mktemp("relay") / "data"
    with running_relay(data, read_token=READ, write_token=WRITE) as running:
        yield running


class Browser:
    """As much of a browser as these rules are about."""

    def __init__(self, relay: RelayProcess) -> None:
        self.relay = relay
        self.host = f"127.0.0.1:{relay.port}"
        self.cookie: str | None = None
        self.set_cookie = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.relay.port, timeout=20)
        given = {"Host": self.host, "Origin": f"http://{self.host}", **headers}
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        if self.cookie is not None:
            given["Cookie"] = self.cookie
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {k: v for k, v in given.items() if v})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        said = answer.getheader("Set-Cookie")
        if said:
            self.set_cookie = said
            self.cookie = said.partition(";")[0]
        return answer.status

    def login(self, token: str) -> int:
        return self.ask("POST", "/v1/session", {"token": token})


def test_a_session_reads_what_its_token_may(relay: RelayProcess) -> None:
    """The page comes without a token, traces only with the cookie; a read session cannot write."""
    browser = Browser(relay)
    assert browser.ask("GET", "/") == 200
    assert browser.ask("GET", "/v1/traces") == 401
    assert browser.login(READ) == 204
    assert browser.ask("GET", "/v1/traces") == 200
    assert browser.ask("POST", "/v1/traces", {}) == 403
    assert browser.ask("DELETE", "/v1/session") == 204
    browser.cookie = browser.set_cookie.partition(";")[0]
    assert browser.ask("GET", "/v1/traces") == 401


def test_an_ended_session_is_over_whoever_has_its_cookie(relay: RelayProcess) -> None:
    """Logging out ends the session itself, not only the browser's memory of it."""
    browser = Browser(relay)
    assert browser.login(READ) == 204
    kept = browser.cookie
    assert browser.ask("DELETE", "/v1/session") == 204
    browser.cookie = kept
    assert browser.ask("GET", "/v1/traces") == 401


def test_the_cookie_is_of_no_use_elsewhere(relay: RelayProcess) -> None:
    """No script reads it, no other site sends it, no other relay's port shares its name."""
    browser = Browser(relay)
    assert browser.login(READ) == 204
    name, *attributes = [part.strip() for part in browser.set_cookie.split(";")]
    assert name.startswith(f"lumina_session_{relay.port}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert READ not in browser.set_cookie


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": ""}, 403),
        ({"Origin": ""}, 200),
    ],
)
def test_a_cookie_needs_host_and_origin(
    relay: RelayProcess, headers: dict[str, str], status: int
) -> None:
    """A browser adds cookies by itself: what another page makes it ask is refused."""
    browser = Browser(relay)
    assert browser.login(READ) == 204
    assert browser.ask("GET", "/v1/traces", **headers) == status


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"token": "wrong"}, {}, 401),
        ({"token": ""}, {}, 401),
        ({"token": "\u00e9\ud83d\ude00"}, {}, 401),
        ({"token": 7}, {}, 400),
        ({"tokens": READ}, {}, 400),
        ([], {}, 400),
        ({"token": READ}, {"Content-Type": "text/plain"}, 415),
        ({"token": READ}, {"Origin": "http://evil.example"}, 403),
        ({"token": READ}, {"Host": "evil.example"}, 403),
        ({"token": "x" * 10_000}, {}, 413),
    ],
)
def test_what_is_no_trade(
    relay: RelayProcess, body: object, headers: dict[str, str], status: int
) -> None:
    """Wrong tokens, wrong bodies and other pages get no cookie."""
    browser = Browser(relay)
    assert browser.ask("POST", "/v1/session", body, **headers) == status
    assert browser.cookie is None


@pytest.mark.parametrize(
    "cookie", ["", "x", "lumina_session_{port}=", "lumina_session_{port}=a;b", '"']
)
def test_a_made_up_cookie_is_none(relay: RelayProcess, cookie: str) -> None:
    """A cookie that nobody gave is as none."""
    browser = Browser(relay)
    browser.cookie = cookie.format(port=relay.port)
    assert browser.ask("GET", "/v1/traces") == 401


def test_a_websocket_takes_the_cookie(relay: RelayProcess) -> None:
    """The live view of a logged-in page works, and only of its own page."""
    browser = Browser(relay)
    assert browser.login(READ) == 204
    url = f"ws://{browser.host}/v1/tail"

    def open_tail(origin: str, cookie: str | None) -> str:
        headers = {} if cookie is None else {"Cookie": cookie}
        with connect(
            url,
            origin=origin,  # type: ignore[arg-type]
            additional_headers=headers,
            subprotocols=["lumina.v1.json"],  # type: ignore[list-item]
            proxy=None,
        ) as socket:
            socket.send('{"type": "subscribe", "view": "running"}')
            return str(json.loads(socket.recv(timeout=20))["type"])

    assert open_tail(f"http://{browser.host}", browser.cookie) == "subscribed"
    for origin, cookie, status in (
        (f"http://{browser.host}", None, 401),
        ("http://evil.example", browser.cookie, 403),
    ):
        with pytest.raises(InvalidStatus) as refused:
            open_tail(origin, cookie)
        assert refused.value.response.status_code == status


def test_nothing_secret_is_logged(relay: RelayProcess) -> None:
    """Neither a token nor a session's id is in the relay's log."""
    browser = Browser(relay)
    browser.login(READ)
    browser.login(WRITE + "x")
    said = relay.stderr()
    assert READ not in said and WRITE not in said
    assert browser.cookie is not None and browser.cookie.partition("=")[2] not in said


def test_sessions_end_and_are_bounded() -> None:
    """A session lasts its time, or its token's; above the most, the oldest goes."""
    now = 0.0
    reader = token_of("read", READ, "")
    valid = {reader.digest: reader}
    sessions = BrowserSessions(1, lambda: now, valid.get)
    first = f"{sessions.cookie}={sessions.begin(reader)}"
    assert sessions.token(f"other=1; {first}; more=2") == reader
    now = LASTS_S
    assert sessions.token(first) is None and len(sessions) == 0
    kept = [sessions.begin(reader) for _ in range(MOST + 1)]
    assert len(sessions) == MOST
    assert sessions.token(f"{sessions.cookie}={kept[0]}") is None
    assert sessions.token(f"{sessions.cookie}={kept[1]}") == reader
    valid.clear()
    assert sessions.token(f"{sessions.cookie}={kept[1]}") is None
