"""TLS: the relay's own, what programs and commands make of it, and what is said where it is wrong."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from support.certificates import Certificate, make_certificate
from support.relay_process import PATIENCE_S, REPOSITORY, RelayProcess, running_relay

import lumina_stream as lumina
from lumina_stream.model.errors import ConfigurationError, ConnectionFailed
from lumina_stream.relay.tls import Tls
from lumina_stream.transport.connection import connect
from lumina_stream.transport.endpoint import parse_endpoint, probe

TOKEN = "lumina_b_of-this-test-only"
_PROGRAM = """
import lumina_stream as lumina
lumina.init("over-tls", endpoint=%r, token=%r)
with lumina.trace("safe"):
    pass
assert lumina.flush(20), lumina.statistics()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates"), "relay", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def relay(made: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    data = tmp_path_factory.mktemp("relay") / "data"
    files = {"tls_cert": str(made.certificate), "tls_key": str(made.key)}
    with running_relay(data, write_token=TOKEN, read_token=TOKEN, **files) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "LUMINA_CA_FILE", "LUMINA_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def python(source: str, *, arguments: tuple[str, ...] = (), **environment: str) -> str:
    """Run a program in a process of its own; return what it wrote."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LUMINA_", "SSL_"))}
    command = [sys.executable, *(("-c", source) if source else ()), *arguments]
    done = subprocess.run(
        command,
        env=clean | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("variable", ["LUMINA_CA_FILE", "SSL_CERT_FILE"])
def test_a_program_a_tail_and_an_export_over_tls(
    relay: RelayProcess, made: Certificate, variable: str
) -> None:
    """With the CA named by either variable everything goes as without TLS."""
    assert relay.url.startswith("https://127.0.0.1:")
    trusted = {variable: str(made.certificate), "LUMINA_TOKEN": TOKEN}
    python(_PROGRAM % (relay.url, TOKEN), **trusted)
    exported = python(
        "", arguments=("-m", "lumina_stream", "export", "--url", relay.url), **trusted
    )
    assert '"safe"' in exported
    tail = ("-m", "lumina_stream", "tail", "--json", "--since", "1h", "--until-idle")
    said = python("", arguments=(*tail, "--url", relay.url.replace("https", "wss")), **trusted)
    assert {json.loads(line)["service"] for line in said.splitlines()} >= {"over-tls"}


def test_forwarding_over_tls(
    relay: RelayProcess, made: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that trusts the other one's CA (SSL_CERT_FILE) hands its spans on."""
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    context = ssl.create_default_context(cafile=str(made.certificate))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        running_relay(tmp_path / "d", forward=relay.url, forward_headers=headers) as first,
        httpx.Client(base_url=relay.url, verify=context, headers=headers) as there,
    ):
        python((_PROGRAM % (first.url, TOKEN)).replace("over-tls", "forwarded"))
        limit = time.monotonic() + PATIENCE_S
        while not there.get("/v1/traces?service=forwarded").json()["traces"]:
            assert time.monotonic() < limit, first.stderr()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_certificate_that_is_not_trusted(
    relay: RelayProcess, made: Certificate, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, and the way out is said; a certificate of another name too; then it connects."""

    async def main(url: str) -> None:
        async with connect(url, "/v1/stream", token=TOKEN):
            pass

    with pytest.raises(ConnectionFailed, match=r"not trusted \(self.signed.*LUMINA_CA_FILE"):
        anyio.run(main, relay.url, backend=backend)
    monkeypatch.setenv("LUMINA_CA_FILE", str(made.certificate))
    anyio.run(main, relay.url, backend=backend)
    with pytest.raises(ConnectionFailed, match=r"not trusted \(Hostname mismatch"):
        anyio.run(main, relay.url.replace("127.0.0.1", "localhost"), backend=backend)


def test_plain_http_to_a_port_with_tls(relay: RelayProcess) -> None:
    """The question for the scheme is asked."""
    plain = relay.url.replace("https", "http")

    async def main() -> None:
        async with connect(plain, "/v1/tail"):
            pass

    with pytest.raises(ConnectionFailed, match="https"):
        asyncio.run(main())
    assert probe(parse_endpoint(plain)).who != "relay"


@pytest.mark.parametrize("wrong", ["missing", "empty"])
def test_a_wrong_ca_file_is_loud(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At `init`, not in a thread that nobody looks at."""
    path = tmp_path / "ca.pem"
    if wrong == "empty":
        path.write_text("nothing")
    monkeypatch.setenv("LUMINA_CA_FILE", str(path))
    with pytest.raises(ConfigurationError, match=f"LUMINA_CA_FILE {path}"):
        lumina.init("x", endpoint="https://127.0.0.1:1")
    lumina.init("x", endpoint="http://127.0.0.1:1", enabled=False)  # nothing to do with it


def test_the_cookie_is_secure_and_the_page_of_its_own_origin(
    relay: RelayProcess, made: Certificate
) -> None:
    """Under TLS no browser sends the cookie over a plain connection, and http is another origin."""
    context = ssl.create_default_context(cafile=str(made.certificate))
    with httpx.Client(base_url=relay.url, verify=context) as browser:
        for origin, status in ((relay.url.replace("https", "http"), 403), (relay.url, 204)):
            answer = browser.post("/v1/session", json={"token": TOKEN}, headers={"Origin": origin})
            assert answer.status_code == status
        cookie = answer.headers["set-cookie"]
        assert "; Secure" in cookie and "HttpOnly" in cookie
        assert browser.get("/v1/traces").status_code == 200


# --- the relay's files -----------------------------------------------------------------------


def test_wrong_files(made: Certificate, tmp_path: Path) -> None:
    """Each is said for what it is, at the start."""
    other = make_certificate(tmp_path, "other")
    locked = make_certificate(tmp_path, "locked", passphrase="secret")
    with pytest.raises(ConfigurationError, match=r"--tls-cert .*none.pem cannot be read: No such"):
        Tls(tmp_path / "none.pem", made.key)
    with pytest.raises(ConfigurationError, match=r"--tls-key .*none.key cannot be read: No such"):
        Tls(made.certificate, tmp_path / "none.key")
    with pytest.raises(ConfigurationError, match="does not fit the certificate"):
        Tls(made.certificate, other.key)
    with pytest.raises(ConfigurationError, match="passphrase"):
        Tls(locked.certificate, locked.key)
    text = tmp_path / "text.pem"
    text.write_text("hello")
    text.chmod(0o600)
    with pytest.raises(ConfigurationError, match="PEM"):
        Tls(text, made.key)
    other.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {other.key}"):
        Tls(other.certificate, other.key)


def test_one_without_the_other(tmp_path: Path, made: Certificate) -> None:
    """On the command line, with exit code 1 and no traceback."""
    command = [
        sys.executable,
        "-m",
        "lumina_stream",
        "serve",
        "--port",
        "0",
        "--data",
        str(tmp_path),
    ]
    for option, value in (("--tls-cert", made.certificate), ("--tls-key", made.key)):
        done = subprocess.run([*command, option, str(value)], capture_output=True, text=True)
        assert done.returncode == 1
        assert "--tls-cert and --tls-key go together" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_renewed_certificate_is_taken_without_a_restart(tmp_path: Path) -> None:
    """New connections get it; one that is wrong changes nothing, and is said once."""
    made = make_certificate(tmp_path, "relay")
    tls = Tls(*made)
    log = _Log()
    tls.look(log)
    assert log.said == []
    assert subject(tls, made) == "relay"
    renewed = make_certificate(tmp_path, "renewed")
    os.replace(renewed.certificate, made.certificate)
    tls.look(log)
    tls.look(log)
    assert [level for level, _ in log.said] == ["error"]
    assert "does not fit" in log.said[0][1]
    os.replace(renewed.key, made.key)
    tls.look(log)
    assert [level for level, _ in log.said] == ["error", "info"]
    assert subject(tls, made) == "renewed"


def subject(tls: Tls, made: Certificate) -> str:
    """Return whose certificate a client gets: both ends in memory."""
    client = ssl.create_default_context(cafile=str(made.certificate))
    client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = tls.context.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server)
    for end in (client_end, server_end, client_end, server_end):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    found = client_end.getpeercert()
    assert found is not None
    return dict(pair for part in found["subject"] for pair in part)["commonName"]  # type: ignore[misc]


class _Log:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def error(self, text: str, reason: str) -> None:
        self.said.append(("error", reason))

    def info(self, text: str) -> None:
        self.said.append(("info", text))
