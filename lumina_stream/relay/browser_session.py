"""A browser's session: it trades a token, once, for a cookie that no script can read.

The cookie holds a random id; which token it was traded for is kept here, under the id's hash, for a bounded
time and number. A session may do what its token may, for as long as that is valid. A restart of the
relay ends all sessions: the page then asks for the token again.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lumina_stream.relay.access import Access
from lumina_stream.tokens import Token, digest_of

SESSION_ROUTE = "/v1/session"
TOKEN_BYTES = 8 << 10
"""Largest body of a request for a session."""

LASTS_S = 12 * 3600.0
"""A working day: who comes back tomorrow types the token again."""
MOST = 1_000
"""Sessions at once; a new one above it ends the oldest."""


class BrowserSessions:
    """The sessions of one relay. `clock` tells monotonic seconds."""

    def __init__(
        self, port: int, clock: Callable[[], float], find: Callable[[bytes], Token | None]
    ) -> None:
        # Cookies do not know ports: two relays on one machine would take each other's.
        self.cookie = f"lumina_session_{port}"
        self._clock = clock
        self._find = find
        self._held: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def begin(self, token: Token) -> str:
        """Return the id of a new session that may do what the token may."""
        session_id = secrets.token_urlsafe(32)
        self._held[digest_of(session_id)] = (token.digest, self._clock() + LASTS_S)
        while len(self._held) > MOST:
            self._held.popitem(last=False)
        return session_id

    def end(self, cookies: str | None) -> None:
        """End the session that a Cookie header names, if it does."""
        for digest in self._named(cookies):
            self._held.pop(digest, None)

    def token(self, cookies: str | None) -> Token | None:
        """Return the token of a Cookie header's session; None without a valid session."""
        for digest in self._named(cookies):
            found = self._held.get(digest)
            if found is not None:
                of_token, until = found
                token = self._find(of_token) if self._clock() < until else None
                if token is not None:
                    return token
                del self._held[digest]
        return None

    def __len__(self) -> int:
        return len(self._held)

    def _named(self, cookies: str | None) -> list[bytes]:
        # Looked up by hash: how long a comparison takes then says nothing about an id.
        if not cookies or self.cookie not in cookies:
            return []
        try:
            morsel = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return []
        return [] if morsel is None else [digest_of(morsel.value)]


class _Trade(msgspec.Struct, forbid_unknown_fields=True):
    token: str


_decode = msgspec.json.Decoder(_Trade).decode


class SessionRoutes:
    """`POST /v1/session` with `{"token": ...}` begins a session, `DELETE /v1/session` ends it."""

    def __init__(self, access: Access, sessions: BrowserSessions) -> None:
        self._access = access
        self._sessions = sessions

    async def begin(self, request: Request) -> Response:
        """Trade a token for a cookie: 204, 400 for what is no such request, 401 for a wrong token."""
        # A form of another page cannot send this type without asking first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": 'send {"token": ...} as application/json'}, 415)
        try:
            token = _decode(await request.body()).token
        except msgspec.DecodeError:
            return JSONResponse({"error": 'the body must be {"token": ...}'}, 400)
        found = self._access.find(digest_of(token))
        if found is None:
            return JSONResponse({"error": "the token is wrong"}, 401)
        answer = Response(status_code=204)
        answer.set_cookie(
            self._sessions.cookie,
            self._sessions.begin(found),
            max_age=int(LASTS_S),
            path=_path(request),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def end(self, request: Request) -> Response:
        """End the browser's session."""
        self._sessions.end(request.headers.get("cookie"))
        answer = Response(status_code=204)
        answer.delete_cookie(
            self._sessions.cookie, path=_path(request), httponly=True, samesite="strict"
        )
        return answer


def _path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
