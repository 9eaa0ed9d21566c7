"""Decides who is let in, and to what: holders of a key by its role, or with no keys set only
callers on this machine.

A pure policy and the middleware that asks it before any route is looked up. Knows no settings.
"""

import hmac
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from datasync.api import senders
from datasync.api.error_responses import error_answer
from datasync.api.rates import GUESSES, Rates, address_of, know_client
from datasync.api.sessions import COOKIE, CSRF_HEADER, Sessions
from datasync.errors import (
    DataSyncError,
    Forbidden,
    Interrupted,
    MalformedRequest,
    RequestRefused,
    Unauthorized,
)
from datasync.models.access import ApiKey, Right, Role, digest_of

OPEN_PATHS = frozenset({"/ping", "/health/live"})
# Says no more than whether to send requests here; those who ask it often cannot hold a key.
OPEN_WITH_KEYS = frozenset({"/health/ready", "/ui/login"})
OPEN_FOLDER = "/ui/static/"  # with keys as well: what the page to log in is made of
LOGOUT = "/ui/logout"
KEY_HINT = "Send one of API_KEYS as 'Authorization: Bearer <key>' or 'X-API-Key'."
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CALLER = "caller"
MOST_HOST = 300  # characters: a name has 253 at most, a port five
# Any of these, and any name with "forwarded" in it, says that the peer is a proxy, so that its
# address says nothing of the caller.
FORWARDING_HEADERS = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "x-azure-clientip",
        "x-envoy-external-address",
        "x-proxyuser-ip",
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of who sent it. `host` is the peer's address, None for a Unix socket."""

    host: str | None
    method: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Grant:
    """Who was let in: by the name of a key and its digest, or as a program of this machine."""

    name: str
    role: Role
    digest: bytes | None = None


LOCAL = Grant("local", Role.ADMIN)


class AccessPolicy:
    """Lets callers in by key, or by being on this machine when there are no keys.

    `keys` gives those of now: they may change while the service runs.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[ApiKey]],
        origins: Sequence[str] = (),
        sessions: Sessions | None = None,
    ) -> None:
        self._keys = keys
        self._origins = frozenset(origin for origin in origins if origin != "*")
        self._sessions = sessions

    @property
    def has_keys(self) -> bool:
        return bool(self._keys())

    def check(self, caller: Caller) -> Grant:
        """Who the caller is. Raises: Unauthorized."""
        if keys := self._keys():
            if not _offered_keys(caller.headers):
                if (key := self._session(caller, keys)) is not None:
                    return Grant(key.name, key.role, key.digest)
            return _check_key(keys, caller.headers)
        self._check_local(caller)
        return LOCAL

    def _session(self, caller: Caller, keys: Sequence[ApiKey]) -> ApiKey | None:
        """The key of a browser that logged in. Raises: Unauthorized for what its page did not ask.

        A browser sends a cookie along with what other sites make it ask: whatever changes
        something needs the token of a page of ours as well.
        """
        cookie = cookies_of(caller.headers).get(COOKIE)
        if cookie is None or self._sessions is None:
            return None
        key = self._sessions.key_of(cookie, keys)
        if key is None or caller.method in SAFE_METHODS:
            return key
        token = self._sessions.csrf_token(cookie).encode()
        shown = caller.headers.get(CSRF_HEADER, "").encode("latin-1")
        hosts = caller.headers.getlist("host")
        if not hmac.compare_digest(token, shown) or self._is_cross_site(
            caller.headers, hosts[0] if hosts else ""
        ):
            raise Unauthorized(
                "a page of another site may not change anything here",
                hint="Load the page again, and do it there.",
            )
        return key

    def is_guess(self, headers: Headers) -> bool:
        """Whether a caller who is refused showed a key that could have been right."""
        return self.has_keys and offers_key(headers)

    def _check_local(self, caller: Caller) -> None:
        headers = caller.headers
        if not is_loopback(caller.host) or _is_forwarded(headers):
            raise Unauthorized("without API_KEYS only direct calls from this machine are let in")
        hosts = headers.getlist("host")
        # A name that leads here by DNS rebinding is not ours, whatever address it has.
        if len(hosts) != 1 or len(hosts[0]) > MOST_HOST or not is_loopback(_host_name(hosts[0])):
            raise Unauthorized("the Host header does not name this machine")
        if caller.method not in SAFE_METHODS and self._is_cross_site(headers, hosts[0]):
            raise Unauthorized("a page of another site may not change anything here")

    def _is_cross_site(self, headers: Headers, host: str) -> bool:
        origins = headers.getlist("origin")
        if any(origin in self._origins for origin in origins):
            return False
        if any(urlsplit_host(origin) != host.lower() for origin in origins):
            return True
        sites = headers.getlist("sec-fetch-site")
        return any(site not in ("same-origin", "none") for site in sites)


def right_for(method: str, path: str) -> Right:
    """What a request asks for: to look, to tell of events, or to change something.

    So nobody can add a route and forget who may use it.
    """
    if path == senders.PATH and method == "POST":
        return Right.NOTIFY
    return Right.READ if method in SAFE_METHODS or path == LOGOUT else Right.OPERATE


def require(grant: Grant, right: Right) -> None:
    """Raises: Forbidden."""
    if right not in grant.role.rights:
        raise Forbidden(
            f"the key {grant.name!r} has the role {grant.role.value}, which may not {right.value}"
        )


def caller_of(scope: Scope) -> Grant | None:
    """Who was let in with this request; None for nobody, or for whom it needs no key."""
    grant: Grant | None = scope.get("datasync", {}).get(_CALLER)
    return grant


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies of a request by name; the first of a name counts."""
    found: dict[str, str] = {}
    for value in headers.getlist("cookie"):
        for part in value.split(";"):
            name, _, text = part.strip().partition("=")
            found.setdefault(name, text)
    return found


def _check_key(keys: Sequence[ApiKey], headers: Headers) -> Grant:
    offered = _offered_keys(headers)
    if not offered:
        raise Unauthorized("this service needs a key", hint=KEY_HINT)
    key = key_among(keys, offered)
    if key is None:
        raise Unauthorized("the key is not one of this service's", hint=KEY_HINT)
    return Grant(key.name, key.role, key.digest)


def key_among(keys: Sequence[ApiKey], offered: Sequence[str]) -> ApiKey | None:
    """The first of these keys that one of the secrets opens.

    Each is compared with each, in constant time: how long it takes tells nothing.
    """
    digests = [digest_of(secret) for secret in offered]
    right = [key for one in digests for key in keys if hmac.compare_digest(one, key.digest)]
    return right[0] if right else None


def offers_key(headers: Headers) -> bool:
    """Whether a request shows any key, right or wrong."""
    return bool(_offered_keys(headers))


def _offered_keys(headers: Headers) -> list[str]:
    """The keys that a request shows; one that is right lets it in, whatever stands beside it.

    Header bytes arrive as latin-1 and are read as UTF-8.
    """
    found = headers.getlist("x-api-key")
    for value in headers.getlist("authorization"):
        scheme, _, credentials = value.partition(" ")
        found += [credentials.strip()] if scheme.lower() == "bearer" else []
    return [key.encode("latin-1").decode("utf-8", "surrogateescape") for key in found if key]


def _is_forwarded(headers: Headers) -> bool:
    names = {name.replace("_", "-") for name in headers}
    return any(name in FORWARDING_HEADERS or "forwarded" in name for name in names)


@lru_cache(maxsize=1024)
def is_loopback(name: str | None) -> bool:
    """Whether an address, or the name localhost, means this machine."""
    if name is None:
        return False
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@lru_cache(maxsize=1024)
def _host_name(host: str) -> str | None:
    """The name in a Host header, without the port; None when it is none."""
    if set(host) & set("/@\\?#, \t"):
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def urlsplit_host(origin: str) -> str | None:
    """The host and port of an origin, None for `null` and what is no origin."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


class AccessMiddleware:
    """Refuses a request before anything reads it. Without a policy nobody is let in.

    A right key is let in always: who guesses keys behind the same proxy locks nobody out.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: Callable[[], AccessPolicy | None],
        rates: Callable[[], Rates],
        refusal: Callable[[Scope, DataSyncError], Response] = lambda _, error: error_answer(error),
    ) -> None:
        """`refusal` makes the answer to who is not let in: browsers are shown where to log in."""
        self._app = app
        self._policy = policy
        self._rates = rates
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except (RequestRefused, Interrupted) as error:
            await self._refusal(scope, error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        _check_form(scope, headers)
        path = route_path(scope)
        if path in OPEN_PATHS:
            return
        policy = self._policy()
        if policy is None:
            raise Interrupted("the service is not running", hint="Try again in a moment.")
        is_open = path in OPEN_WITH_KEYS or path.startswith(OPEN_FOLDER)
        if is_open and policy.has_keys:
            return
        client = scope.get("client")
        caller = Caller(client[0] if client else None, scope["method"], headers)
        try:
            self._let_in(scope, policy.check(caller), path)
        except (Forbidden, Unauthorized) as refused:
            if senders.postpone(scope, path, refused):
                return
            if isinstance(refused, Unauthorized) and policy.is_guess(headers):
                self._rates().spend(GUESSES, address_of(scope))
            raise

    def _let_in(self, scope: Scope, grant: Grant, path: str) -> None:
        know_client(scope, grant.digest)
        scope.setdefault("datasync", {})[_CALLER] = grant
        require(grant, right_for(scope["method"], path))


def _check_form(scope: Scope, headers: Headers) -> None:
    """Refuse what RFC 9112, section 3.2, has every server refuse, and HTTP before 1.0.

    Raises: MalformedRequest.
    """
    version = scope.get("http_version", "1.1")
    if version == "0.9":
        raise MalformedRequest("a request line without a version is not taken")
    if version == "1.1" and len(headers.getlist("host")) != 1:
        raise MalformedRequest("a request of HTTP/1.1 has exactly one Host header")


def root_of(scope: Scope) -> str:
    """The path below which the service is reached, as it may stand in a page."""
    path: str = scope.get("root_path", "").rstrip("/")
    return "".join(each for each in path if each.isalnum() or each in "/-._~")


def route_path(scope: Scope) -> str:
    """The path of a request below that."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/"))
