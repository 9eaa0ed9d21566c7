"""Renders the pages. Every text in them is escaped; nothing in them comes from another host."""

from collections.abc import Mapping
from hashlib import blake2s
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from datasync import __version__
from datasync.api.security import caller_of, cookies_of, root_of
from datasync.api.sessions import COOKIE
from datasync.models.words import byte_text, duration_text, second_text
from datasync.models.access import Right
from datasync.utils.logger import escape_key

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TABS = (
    ("", "Overview"),
    ("/files", "Files"),
    ("/runs", "Runs"),
    ("/problems", "Problems"),
    ("/trash", "Trash"),
    ("/events", "Events"),
    ("/settings", "Settings"),
    ("/doctor", "Doctor"),
)
_TONES = {
    "good": "success synced download adopt pass",
    "warn": "partial held archived oversize interrupted cancelled warn stale",
    "bad": "failed rejected reject fail",
    "busy": "queued running delete",
}
TONES = {word: tone for tone, words in _TONES.items() for word in words.split()}


def tone_of(word: str) -> str:
    """The colour that goes with a word of the engine."""
    return TONES.get(word, "plain")


def legible(text: str) -> str:
    """A key or a message without characters that could hide or disarrange others."""
    return escape_key(text)


def key_path(key: str) -> str:
    """A key as the path of a URL, every byte of it kept; "" for one that no browser can ask for.

    Browsers resolve segments of one or two dots, also escaped ones: with those a key is a single
    segment.
    """
    dots = {".", ".."}
    if key in dots:
        return ""
    return quote(key, safe="/" if dots.isdisjoint(key.split("/")) else "")


def nickname(key: str) -> str:
    """A short name of a key, by which a page finds its row again."""
    return blake2s(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Pages:
    """The templates, and what all of them show."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            bytes=byte_text,
            duration=duration_text,
            seconds=second_text,
            tone=tone_of,
            legible=legible,
            keypath=key_path,
            nickname=nickname,
        )
        prefix = settings.get("s3_prefix") or ""
        self._common = {
            "version": __version__,
            "tabs": TABS,
            "bucket": f"s3://{settings.get('s3_bucket_name')}/{prefix}",
            "directory": settings.get("local_download_dir"),
        }

    def page(
        self, request: Request, name: str, here: str, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """A whole page; `here` is its tab."""
        text = self.text(request, name, here=here, **context)
        return HTMLResponse(
            text,
            status,
            headers={"Content-Security-Policy": POLICY, "Vary": "Accept, Cookie"},
        )

    def text(self, request: Request, name: str, **context: Any) -> str:
        """A template filled in: a page, or a part of one."""
        caller = caller_of(request.scope)
        cookie = cookies_of(request.headers).get(COOKIE, "")
        sessions = request.app.state.sessions
        common = {
            **self._common,
            "root": root_of(request.scope),
            "user": caller.name if caller is not None and cookie else "",
            "may_operate": caller is not None and Right.OPERATE in caller.role.rights,
            "csrf": sessions.csrf_token(cookie) if cookie and sessions else "",
        }
        template = self._environment.get_template(name)
        return template.render({**common, **context})


def pages_of(request: Request) -> Pages:
    """The service's pages."""
    pages: Pages = request.app.state.pages
    return pages


def wants_page(accept: str) -> bool:
    """Whether who asks is a browser that would show a page."""
    return "text/html" in accept
