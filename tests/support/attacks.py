"""What an attacker may send to a route, as a table: every row is tried on every route.

An attack is bytes for one connection, made from a route's method and target. It is `refused` (4xx),
or it is `harmless`: answered like the plain request, or refused, and never with a 5xx.
"""

from collections.abc import Callable
from dataclasses import dataclass

MARK = "x-injected"  # a header that no answer may ever have
HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
JSON = b"Content-Type: application/json"
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Route:
    """One operation of the document, its target filled in, and the headers that let it in."""

    method: str
    path: str
    access: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Attack:
    """`refused`: nothing but 4xx is right."""

    name: str
    made: Callable[[Route], bytes]
    refused: bool = False

    def __str__(self) -> str:
        return self.name


def request(
    route: Route,
    *headers: bytes,
    target: bytes | None = None,
    query: bytes = b"",
    method: bytes | None = None,
    version: bytes = b"HTTP/1.1",
    host: bytes = HOST,
    body: bytes = b"",
) -> bytes:
    """The plain request of a route with these changes, and its body's length where there is one."""
    place = (route.path.encode() if target is None else target) + query
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    lines = b"".join(header + b"\r\n" for header in headers)
    first = b"%s %s %s\r\n" % (method or route.method.encode(), place, version)
    return first + host + route.access + CLOSE + lines + length + b"\r\n" + body


def _headers(name: str, *headers: bytes, refused: bool = False, body: bytes = b"") -> Attack:
    return Attack(name, lambda route: request(route, *headers, body=body), refused)


def _query(name: str, query: bytes) -> Attack:
    return Attack(name, lambda route: request(route, query=b"?" + query))


def _target(name: str, ending: bytes, refused: bool = False) -> Attack:
    return Attack(name, lambda route: request(route, target=route.path.encode() + ending), refused)


def _raw(name: str, made: Callable[[Route], bytes]) -> Attack:
    """What is no HTTP/1.1 request, or one that two readers could take for different ones."""
    return Attack(name, made, refused=True)


def _method(method: bytes, refused: bool = True) -> Attack:
    return Attack(f"method {method.decode()}", lambda route: request(route, method=method), refused)


def _smuggled(route: Route) -> bytes:
    return b"GET /smuggled HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"


SMUGGLING = [
    _raw(
        "two lengths",
        lambda r: request(r, b"Content-Length: 0", b"Content-Length: 5", body=b"") + _smuggled(r),
    ),
    _raw("length list", lambda r: request(r, b"Content-Length: 5, 5") + b"xxxxx"),
    _raw("length with a sign", lambda r: request(r, b"Content-Length: +5") + b"xxxxx"),
    _raw("negative length", lambda r: request(r, b"Content-Length: -1")),
    _raw("hex length", lambda r: request(r, b"Content-Length: 0x5") + b"xxxxx"),
    _raw("length beyond 64 bits", lambda r: request(r, b"Content-Length: 1" + b"0" * 30)),
    _raw(
        "length and chunked",
        lambda r: request(r, b"Content-Length: 5", b"Transfer-Encoding: chunked")
        + b"0\r\n\r\n"
        + _smuggled(r),
    ),
    _raw(
        "chunked and length",
        lambda r: request(r, b"Transfer-Encoding: chunked", b"Content-Length: 5")
        + b"0\r\n\r\n"
        + _smuggled(r),
    ),
    _raw(
        "chunked not last",
        lambda r: request(r, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    ),
    _raw("chunked misspelt", lambda r: request(r, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    _raw("chunk size no number", lambda r: request(r, b"Transfer-Encoding: chunked") + b"zz\r\n"),
    _raw(
        "chunk size beyond 64 bits",
        lambda r: request(r, b"Transfer-Encoding: chunked") + b"f" * 20 + b"\r\n",
    ),
    _raw("space before the colon", lambda r: request(r, b"Content-Length : 5") + b"xxxxx"),
    _raw("folded header", lambda r: request(r, b"X-Folded: a\r\n b\r\n\tc")),
    _raw("folded length", lambda r: request(r, b"Content-Length:\r\n 5") + b"xxxxx"),
    _raw("bare line feeds", lambda r: request(r).replace(b"\r\n", b"\n")),
    _raw("bare carriage return", lambda r: request(r, b"X-A: a\rX-B: b")),
    _raw("NUL in a header", lambda r: request(r, b"X-A: a\0b")),
    _raw("header without a name", lambda r: request(r, b": nothing")),
    _raw("header without a colon", lambda r: request(r, b"nothing at all")),
]
PROTOCOL = [
    _raw("no HTTP", lambda r: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n"),
    _raw("HTTP/2 preface", lambda r: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    _raw("HTTP/0.9", lambda r: b"GET " + r.path.encode() + b"\r\n\r\n"),
    _raw("HTTP/3.0", lambda r: request(r, version=b"HTTP/3.0")),
    Attack("two spaces", lambda r: request(r, target=b" " + r.path.encode())),
    _raw("raw NUL in the target", lambda r: request(r, target=r.path.encode() + b"\0")),
    _raw("raw bytes in the target", lambda r: request(r, target=r.path.encode() + b"\xff\xfe")),
    _raw("line feed in the target", lambda r: request(r, target=r.path.encode() + b"\nX: y")),
    _raw("target without a slash", lambda r: request(r, target=b"x")),
    _raw("asterisk", lambda r: request(r, target=b"*")),
    Attack("HTTP/1.0", lambda r: request(r, version=b"HTTP/1.0")),
    Attack("HTTP/1.0 without a host", lambda r: request(r, version=b"HTTP/1.0", host=b"")),
    _raw("no host", lambda r: request(r, host=b"")),
    _raw("two hosts", lambda r: request(r, b"Host: evil.example")),
    Attack(
        "absolute form",
        lambda r: request(r, target=b"http://evil.example" + r.path.encode()),
    ),
    _raw("absolute form of a file", lambda r: request(r, target=b"file:///etc/passwd")),
    _raw("absolute form without a path", lambda r: request(r, target=b"http://evil.example")),
    _raw("absolute form, bad port", lambda r: request(r, target=b"http://a:99999999/")),
    Attack(
        "pipelined",
        lambda r: request(r).replace(CLOSE, b"") + request(r),
    ),
    Attack("empty lines before", lambda r: b"\r\n\r\n" + request(r)),
]
METHODS = [
    *map(_method, [b"TRACE", b"PUT", b"DELETE", b"PATCH", b"PROPFIND", b"QUERY", b"SOURCE"]),
    _method(b"FOO"),
    _method(b"get"),
    Attack("HEAD", lambda r: request(r, method=b"HEAD")),
    _method(b"OPTIONS"),
    _raw("CONNECT", lambda r: request(r, method=b"CONNECT", target=b"evil.example:443")),
    _raw("CONNECT to a path", lambda r: request(r, method=b"CONNECT")),
]
HEADERS = [
    Attack(
        "websocket",
        lambda r: request(
            r,
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ).replace(CLOSE, b"Connection: Upgrade, close\r\n"),
    ),
    Attack(
        "h2c",
        lambda r: request(r, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk").replace(
            CLOSE, b"Connection: Upgrade, HTTP2-Settings, close\r\n"
        ),
    ),
    Attack(
        "upgrade with a body",
        lambda r: request(r, b"Upgrade: x", body=b"{}").replace(
            CLOSE, b"Connection: Upgrade, close\r\n"
        ),
    ),
    _headers("expects what is not there", b"Expect: 200-maybe"),
    _headers("expects to go on", b"Expect: 100-continue", body=b"{}"),
    _headers("id with a line feed", b"X-Request-ID: a%0d%0ax-injected: 1"),
    _headers("id too long", b"X-Request-ID: " + b"a" * 5000),
    _headers("bytes of no encoding", b"X-Request-ID: \xff\xfe", b"Cookie: \x80\x81=\xff"),
    _headers("cookies", b"Cookie: " + b"; ".join(b"a%d=b" % n for n in range(2000))),
    _headers("cookie without end", b'Cookie: a="' + b"\\" * 20_000),
    _headers(
        "10,000 ranges", b"Range: bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(10_000))
    ),
    _headers("nested ranges", b"Range: bytes=" + b",".join([b"0-"] * 1000)),
    _headers("range of great numbers", b"Range: bytes=" + b"9" * 5000 + b"-"),
    _headers("range that turns back", b"Range: bytes=0-" + b" ," * 10_000),
    _headers("great If-None-Match", b"If-None-Match: " + b", ".join([b'"a"'] * 10_000)),
    _headers("unclosed If-None-Match", b"If-None-Match: " + b'W/"' * 10_000),
    _headers("great If-Range", b"If-Range: " + b"9" * 30_000, b"Range: bytes=0-1"),
    _headers(
        "odd dates",
        b"If-Modified-Since: Mon, 99 Foo 99999999999 99:99:99 +999999",
        b"If-Unmodified-Since: 1e400",
    ),
    _headers(
        "host of another",
        b"X-Host: evil.example",
        b"X-Original-URL: /sync/config",
        b"X-Rewrite-URL: /sync/config",
        b"X-HTTP-Method-Override: DELETE",
    ),
    _headers("origin of another", b"Origin: https://evil.example"),
    _headers("preflight", b"Origin: https://evil.example", b"Access-Control-Request-Method: POST"),
    _headers("content type without end", b"Content-Type: " + b"a/" * 10_000, body=b"{}"),
    _headers("compressed", b"Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00"),
]
QUERIES = [
    _query("query of 60 KB", b"a=" + b"b" * 60_000),
    Attack("query of 1 MB", lambda r: request(r, query=b"?a=" + b"b" * MEBIBYTE), refused=True),
    _headers("head of 70 KB", b"X-A: " + b"b" * 70_000, refused=True),
    _headers("head of 1 MB", b"X-A: " + b"b" * MEBIBYTE, refused=True),
    _headers("20,000 headers", *[b"A%d: b" % n for n in range(20_000)], refused=True),
    _query("10,000 parameters", b"&".join(b"p%d=1" % n for n in range(6_000))),
    _query(
        "every parameter twice", b"limit=1&limit=2&wait=0&wait=0&prefix=a&prefix=b&token=&token="
    ),
    _query("NaN", b"limit=NaN&wait=NaN&before=NaN&background=NaN"),
    _query("1e400", b"limit=1e400&wait=1e400&before=1e400"),
    _query("infinity", b"limit=inf&wait=inf&before=inf"),
    _query("minus one", b"limit=-1&wait=-1&before=-1"),
    _query("2**64", b"limit=18446744073709551616&before=18446744073709551616"),
    _query(
        "5,000 digits",
        b"limit=" + b"9" * 5000 + b"&before=" + b"9" * 5000 + b"&wait=" + b"9" * 5000,
    ),
    _query(
        "other digits",
        "limit=\u0661\u0662&wait=\u0663".encode()
        .replace(b"\xd9", b"%D9")
        .replace(b"\xa1", b"%A1")
        .replace(b"\xa2", b"%A2")
        .replace(b"\xa3", b"%A3"),
    ),
    _query("NUL", b"prefix=%00&token=%00&source=%00"),
    _query("line feeds", b"prefix=%0d%0ax-injected:%201&token=%0d%0ax-injected:1"),
    _query("no UTF-8", b"prefix=%ff%fe&token=%c0%af&source=%ed%a0%80"),
    _query("broken escapes", b"prefix=%&token=%zz&limit=%"),
    _query("traversal", b"prefix=../../../../etc/&token=..%2f..%2f"),
    _query("SQL", b"prefix=%27%20OR%201%3D1--&token=%27;DROP%20TABLE%20objects"),
    _query("patterns", b"prefix=%25_%5b%5d*%3f&token=%25"),
    _query("brackets", b"prefix[]=a&prefix[a]=b&limit[$gt]=1"),
]
TARGETS = [
    _target("slash", b"/"),
    _target("matrix", b";a=b"),
    _target("encoded NUL", b"%00"),
    _target("encoded line feed", b"%0d%0ax-injected:%201"),
    _target("overlong slash", b"%c0%af..%c0%af.."),
    _target("overlong dots", b"/%c0%ae%c0%ae/%e0%80%ae"),
    _target("surrogate", b"%ed%a0%80"),
    _target("no UTF-8", b"%ff"),
    _target("broken escape", b"%"),
    _target("half an escape", b"%2"),
    _target("60 KB", b"/" + b"a" * 60_000),
    *(
        _target(f"traversal {form.decode()}", b"/" + (form * 12) + b"etc/passwd")
        for form in (
            b"../",
            b"..%2f",
            b"..%2F",
            b"%2e%2e/",
            b"%2e%2e%2f",
            b"%252e%252e%252f",
            b"..%5c",
            b"..\\",
            b"%2e%2e%5c",
            b"..%c0%af",
            b"....//",
            b"..;/",
            b"%u002e%u002e/",
            b".%00./",
        )
    ),
    Attack("to the root", lambda r: request(r, target=b"/../../../../../../etc/passwd"), True),
    Attack("into the open", lambda r: request(r, target=b"/ping/.." + r.path.encode()), True),
    Attack("two slashes", lambda r: request(r, target=b"/" + r.path.encode()), True),
]
BODIES = [
    _headers("more than is taken", JSON, body=b" " * (2 * MEBIBYTE)),
    Attack(
        "announced and never sent",
        lambda r: request(r, b"Content-Length: 99999999999", JSON),
    ),
    Attack("deep JSON", lambda r: request(r, JSON, body=b"[" * 200_000)),
    _headers("deep objects", JSON, body=b'{"a":' * 100_000),
    _headers("great number", JSON, body=b'{"keys": ' + b"9" * 500_000 + b"}"),
    _headers("odd numbers", JSON, body=b'{"keys": [NaN, Infinity, -1, 1e400]}'),
    _headers("no UTF-8 in the body", JSON, body=b'{"keys": ["\xff\xfe"], "Records": "\xff"}'),
    _headers("lone surrogates", JSON, body=b'{"keys": ["\\ud800"], "\\udfff": 1}'),
    _headers("NUL in the body", JSON, body=b'{"keys": ["\\u0000"]}'),
    _headers("wrong kinds", JSON, body=b'{"keys": {"a": 1}, "Records": 7}'),
    _headers("names twice", JSON, body=b'{"keys": [], "keys": 1, "__proto__": {}}'),
    _headers(
        "form", b"Content-Type: multipart/form-data; boundary=x", body=b"--x\r\n\r\n\r\n--x--"
    ),
    Attack(
        "XML",
        lambda r: request(
            r,
            b"Content-Type: application/xml",
            body=b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        ),
    ),
]
ATTACKS = [*SMUGGLING, *PROTOCOL, *METHODS, *HEADERS, *QUERIES, *TARGETS, *BODIES]
