"""Nothing that is not ours acts in the name of the API's origin: files, other sites, pages."""

import re
from urllib.parse import quote

import pytest

from tests.http.test_attacks import routes
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter

SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
ACTIVE = (
    "page.html",
    "page.htm",
    "PAGE.HTML",
    "page.xhtml",
    "image.svg",
    "image.svgz",
    "script.js",
    "script.mjs",
    "style.css",
    "data.xml",
    "sheet.xsl",
    "paper.pdf",
    "movie.swf",
    "mail.mht",
    "manifest.webmanifest",
    "module.wasm",
    "feed.rss",
    "nothing",
    "dir/.html",
    "a.html;.txt",
    "a.txt\r\nContent-Type: text/html\r\n\r\n<script>.txt",
)
ASKED: tuple[tuple[str, dict[str, str], int], ...] = (
    ("GET", {}, 200),
    ("HEAD", {}, 200),
    ("GET", {"Range": "bytes=0-9"}, 206),
    ("GET", {"Range": "bytes=0-9,20-29"}, 206),
    ("GET", {"Range": "bytes=9999-"}, 416),
    ("GET", {"If-None-Match": "*"}, 304),
    ("GET", {"If-Match": '"x"'}, 412),
    ("GET", {"Accept": "text/html", "Sec-Fetch-Dest": "iframe"}, 200),
)


@pytest.fixture
def active(start_service: Starter) -> Service:
    bucket = FakeBucket()
    for key in ACTIVE:
        bucket.put(key, SCRIPT)
    service = start_service(bucket)
    service.sync()
    return service


@pytest.mark.parametrize("method, headers, status", ASKED)
def test_no_file_is_more_than_an_attachment(
    active: Service, method: str, headers: dict[str, str], status: int
) -> None:
    for key in ACTIVE:
        path = "/sync/download/" + quote(key)
        answer = active.api.request(method, path, headers=headers)
        assert answer.status_code == status, key
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        if status < 400:
            assert policy == "sandbox; default-src 'none'"
        if status < 300:
            assert answer.headers["content-disposition"].startswith("attachment; filename=")
        else:
            assert b"<script" not in answer.content
        assert len(answer.headers.get_list("content-type")) <= 1


def test_no_route_is_open_to_another_site(service: Service) -> None:
    origin = {"Origin": "https://evil.example"}
    asking = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    for route in routes(service):
        for method, headers in ((route.method, origin), ("OPTIONS", origin | asking)):
            answer = service.api.request(method, route.path, headers=headers)
            opened = [name for name in answer.headers if name.startswith("access-control-")]
            assert opened == [], (route, method)
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_configured_origin_opens_every_route_to_itself_only(start_service: Starter) -> None:
    service = start_service(cors_origins=("https://ops.example.com",))
    for route in routes(service):
        for origin in ("https://evil.example", "null", "https://ops.example.com.evil.example"):
            answer = service.api.request(route.method, route.path, headers={"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers, (route, origin)
        asked = {"Origin": "https://ops.example.com"}
        answer = service.api.request(route.method, route.path, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://ops.example.com", route
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_run_no_script_but_those_files(service: Service, page: str) -> None:
    answer = service.api.get(page)
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"<script(?! src=)|\son\w+=|javascript:", answer.text)
