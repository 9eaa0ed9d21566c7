"""The sessions of browsers: what a cookie stands for, and when it stands for nothing any more."""

import stat
import threading
from pathlib import Path

import pytest
from itsdangerous import TimestampSigner

from datasync.api.sessions import FILE, LIFE_SECONDS, SECRET_BYTES, Sessions, session_secret
from datasync.models.access import api_keys

LOOK, OPS = api_keys(["look:secret-one:read", "ops:secret-two:operate"])
SECRET = b"s" * SECRET_BYTES


def test_a_cookie_stands_for_its_key_and_does_not_tell_its_secret() -> None:
    sessions = Sessions(SECRET)
    cookie = sessions.cookie(OPS)
    assert sessions.key_of(cookie, [LOOK, OPS]) is OPS
    assert "secret" not in cookie
    assert Sessions(SECRET).key_of(cookie, [OPS]) is OPS  # another process of the directory


def test_it_ends_with_its_key() -> None:
    sessions = Sessions(SECRET)
    cookie = sessions.cookie(OPS)
    assert sessions.key_of(cookie, [LOOK]) is None
    (changed,) = api_keys(["ops:secret-three:operate"])
    assert sessions.key_of(cookie, [LOOK, changed]) is None
    assert Sessions(b"t" * SECRET_BYTES).key_of(cookie, [OPS]) is None


@pytest.mark.parametrize("cookie", ["", ".", "ops", "a.b.c", "ü", "x" * 10_000])
def test_what_nobody_signed_stands_for_nothing(cookie: str) -> None:
    assert Sessions(SECRET).key_of(cookie, [LOOK, OPS]) is None


def test_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(SECRET)
    now = TimestampSigner("x").get_timestamp()
    cookie = sessions.cookie(OPS)
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now + LIFE_SECONDS + 60)
    assert sessions.key_of(cookie, [OPS]) is None


def test_pages_of_two_sessions_have_two_tokens() -> None:
    sessions = Sessions(SECRET)
    assert sessions.csrf_token("one") != sessions.csrf_token("other")


def test_processes_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    found = list[bytes]()
    threads = [
        threading.Thread(target=lambda: found.append(session_secret(tmp_path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found[0]) == SECRET_BYTES
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_where_none_can_be_kept_it_ends_with_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    assert len(session_secret(folder)) == SECRET_BYTES
    assert session_secret(folder) != session_secret(folder)
    (tmp_path / FILE).write_bytes(b"too short")
    assert len(session_secret(tmp_path)) == SECRET_BYTES
