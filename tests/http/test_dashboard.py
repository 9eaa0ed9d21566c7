"""The pages in a real browser: what they show, what their buttons do, and who may press them."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from datasync.api.dashboard.live import STREAMS_AT_ONCE
from datasync.errors import LedgerError
from datasync.models.access import hashed
from tests.support import fail
from tests.support.browser import Tab, browser, tab
from tests.support.service import Service, Starter
from tests.support.world import eventually

__all__ = ["browser", "tab"]
ODD = 'odd/<b>ü</b> & "quotes" 100%.txt'
PAGES = ["", "/files", "/runs", "/runs/1", "/problems", "/trash", "/events", "/settings", "/doctor"]
SERIOUS = {"serious", "critical"}


@pytest.fixture
def filled(service: Service) -> Service:
    """Files, one with a key that could be mistaken for markup, a failure, and a trashed file."""
    for key in ("a", "b/c", "gone", ODD):
        service.bucket.put(key, key.encode())
    service.bucket.put("broken", b"x")
    service.bucket.script("broken", *[fail.status(403)] * 99)
    service.sync()
    service.bucket.delete("gone")
    service.sync()
    return service


class Site:
    """The pages of a service in one tab."""

    def __init__(self, service: Service, tab: Tab) -> None:
        self.base = f"http://127.0.0.1:{service.port}"
        self.tab = tab
        self.page = tab.page

    def go(self, path: str = "") -> "Site":
        self.page.goto(f"{self.base}/ui{path}")
        return self

    def sees(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text)


@pytest.fixture
def site(filled: Service, tab: Tab) -> Site:
    return Site(filled, tab)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_used_by_everybody(site: Site, path: str) -> None:
    """axe finds nothing serious, in light and dark; nothing is asked of another host."""
    site.go(path)
    for scheme in ("light", "dark"):
        site.page.emulate_media(color_scheme=scheme)
        found = Axe().run(site.page).response["violations"]
        bad = [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in SERIOUS
        ]
        assert bad == [], scheme
    assert site.tab.hosts == {site.base.removeprefix("http://")}


@pytest.mark.parametrize("path", PAGES)
def test_a_narrow_screen_scrolls_only_inside_tables(site: Site, path: str) -> None:
    site.page.set_viewport_size({"width": 360, "height": 740})
    site.go(path)
    wide = site.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360


def test_the_first_page_says_what_is_wrong_and_where_to_look(site: Site) -> None:
    site.go().sees("Not in sync", "1 key is not right")
    site.page.click("text=See why")
    site.sees("broken", "s3:GetObject")


def test_a_change_is_seen_without_a_reload(site: Site, filled: Service) -> None:
    site.go()
    filled.bucket.put("new/one", b"x")
    filled.parts.service.mark([("new/one", "event")])
    site.sees("new/one")


def test_a_failure_is_tried_again(site: Site, filled: Service) -> None:
    """The page follows: it says what happens, keeps the focus, and ends empty."""
    go_on = threading.Event()
    filled.bucket._scripts.clear()
    filled.bucket.script("broken", fail.pause_until(go_on))
    try:
        site.go("/problems").page.click("text=Try all again")
        site.sees("Queued 1 key to try again")
        expect(site.page.locator("td.when")).to_have_text("now")
        expect(site.page.locator("#retry-all")).to_be_focused()
    finally:
        go_on.set()
    site.sees("No key is in trouble.")
    assert (filled.root / "broken").read_bytes() == b"x"


def test_what_a_button_is_told_is_seen_though_the_button_was_replaced_meanwhile(
    site: Site, filled: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, retry = threading.Event(), filled.parts.controller.retry
    filled.bucket._scripts.clear()
    filled.bucket.script("broken", fail.pause_until(go_on))

    def slowly(keys: Sequence[str] | None) -> object:
        answer = retry(keys)
        expect_change.wait(15)
        return answer

    expect_change = threading.Event()
    monkeypatch.setattr(filled.parts.controller, "retry", slowly)
    try:
        site.go("/problems").page.click("text=Try all again")
        expect(site.page.locator("td.when")).to_have_text("now")
        expect_change.set()
        site.sees("Queued 1 key to try again")
    finally:
        expect_change.set()
        go_on.set()


def test_a_further_page_of_problems_says_nothing_of_the_first(filled: Service) -> None:
    filled.bucket.put("also broken", b"x")
    filled.bucket.script("also broken", *[fail.status(403)] * 99)
    filled.sync()
    token = filled.get("/sync/failures?limit=1")["next_token"]
    filled.bucket._scripts.clear()
    filled.post("/sync/failures/retry", 202, json={"keys": ["broken"]})
    eventually((filled.root / "broken").exists)
    eventually(lambda: filled.get("/sync/stats")["pending"] == 0)
    browser = {"Accept": "text/html"}
    page = filled.api.get(f"/ui/problems?{urlencode({'token': token})}", headers=browser).text
    assert "No further key is in trouble." in page and "Try all again" in page
    assert "also broken" in filled.api.get("/ui/problems", headers=browser).text


def test_files_are_found_by_prefix_state_and_size(site: Site) -> None:
    site.go("/files").sees("b/c", ODD)
    site.page.fill("input[name=prefix]", "b/")
    expect(site.page.locator("#rows")).not_to_contain_text("odd/")
    site.sees("b/c")
    assert "prefix=b%2F" in site.page.url
    site.go("/files?state=failed").sees("broken")
    site.go("/files?least=1048576").sees("No key is like that.")
    site.go("/files?verdict=md5&prefix=a").sees("md5")


def test_a_file_has_its_history_and_its_bytes(site: Site, tmp_path: Path) -> None:
    site.go("/files").page.click(f"text={ODD}")
    site.sees("Verified by", "md5", "Downloaded successfully")
    with site.page.expect_download() as download:
        site.page.click("text=Download >> nth=0")
    download.value.save_as(tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == ODD.encode()


@pytest.mark.parametrize(
    "content, shown",
    [
        (b"name,size\r\na\t1\r\n<b>&amp;</b> \x1b[31m", ["all of it", "<b>&amp;</b> \\x1b[31m"]),
        ("ü".encode() * 4000, ["its first 4.0 KiB", "üüü"]),
        (b"\x00\x01binary", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_a_text_can_be_looked_into(
    service: Service, tab: Tab, content: bytes, shown: list[str] | None
) -> None:
    service.bucket.put("it", content)
    service.sync()
    site = Site(service, tab).go("/files/one?key=it")
    if shown is None:
        expect(site.page.locator("pre")).to_have_count(0)
    else:
        site.sees("Begins with", *shown)


def test_a_file_comes_back_from_the_trash(site: Site, filled: Service) -> None:
    site.go("/trash").page.click("td.act button")
    site.sees("Restored 1 of 1 files")
    expect(site.page.locator("td.act")).to_have_count(0)
    assert (filled.root / "gone").read_bytes() == b"gone"


@pytest.fixture
def held(start_service: Starter) -> Service:
    """A service that waits for the approval of 20 deletes."""
    service = start_service()
    for number in range(20):
        service.bucket.put(f"{number:02}", b"x")
    service.sync()
    for number in range(20):
        service.bucket.delete(f"{number:02}")
    service.bucket.put("kept", b"x")
    service.sync()
    return service


def test_a_held_plan_is_looked_at_and_approved(held: Service, tab: Tab) -> None:
    site = Site(held, tab)
    site.go().sees("Waiting for you", "Run 2 wants to delete 20 files")
    site.page.click("text=Look, then decide")
    site.sees("Would be deleted", "07")
    site.page.click("text=Approve the deletes")
    site.page.click("dialog >> text=Cancel")
    assert held.get("/sync/runs/2")["status"] == "held"
    site.page.click("text=Approve the deletes")
    site.page.click("dialog >> text=Go on")
    site.sees("Approved")
    expect(site.page.locator("h1")).to_contain_text("success")
    assert not (held.root / "07").exists()
    site.go("/trash?why=run-2").page.click("text=Restore all of these")
    site.page.click("dialog >> text=Go on")
    site.sees("Restored 20 of 20 files")
    assert (held.root / "07").exists()


def test_a_held_plan_is_rejected(held: Service, tab: Tab) -> None:
    site = Site(held, tab)
    site.go("/runs/2").page.click("text=Reject them")
    expect(site.page.locator("h1")).to_contain_text("cancelled")
    assert (held.root / "07").exists()


def test_a_run_is_started_and_followed(site: Site) -> None:
    site.go("/runs").page.click("text=Compare now")
    site.page.wait_for_url("**/ui/runs/3")
    expect(site.page.locator("h1")).to_contain_text("partial")
    site.go("/runs").sees("reconcile")


def test_colours_can_be_chosen_and_are_kept(site: Site) -> None:
    site.go().page.click("[data-theme-button]")
    expect(site.page.locator("html")).to_have_attribute("data-theme", "light")
    site.page.click("[data-theme-button]")
    site.go("/files")
    expect(site.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_slash_goes_to_the_search(site: Site) -> None:
    site.go("/files").page.keyboard.press("/")
    expect(site.page.locator("input[name=prefix]")).to_be_focused()
    site.page.keyboard.press("/")
    expect(site.page.locator("input[name=prefix]")).to_have_value("/")


def test_events_are_a_live_feed(site: Site, filled: Service) -> None:
    site.go("/events").sees("Live")
    filled.bucket.put("fed", b"x")
    filled.parts.service.mark([("fed", "event")])
    site.sees("fed")


def test_settings_show_no_secret(start_service: Starter, tab: Tab) -> None:
    service = start_service(notification_secret="hush-hush")
    Site(service, tab).go("/settings").sees("NOTIFICATION_SECRET", "set", "RETRY_ATTEMPTS")
    assert "hush-hush" not in tab.page.content()


def test_a_page_that_is_open_does_not_keep_the_service_from_stopping(service: Service) -> None:
    with service.api.stream("GET", "/ui/live") as answer:
        lines = answer.iter_lines()
        assert any(line == "event: lately" for line in lines)
        began = time.monotonic()
        service.server.should_exit = True
        service.app.state.shutdown.loop.call_soon_threadsafe(service.app.state.shutdown.begin)
        for _ in lines:
            pass
    assert time.monotonic() - began < 4.0


def test_so_many_pages_are_open_and_no_more(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS_AT_ONCE):
            stack.enter_context(service.api.stream("GET", "/ui/events/live"))
        assert service.get("/ui/events/live", 429)["error"] == "TooManyRequests"
    eventually(lambda: _opens(service))


def _opens(service: Service) -> bool:
    with service.api.stream("GET", "/ui/events/live") as answer:
        return answer.status_code == 200


def test_a_page_whose_service_is_in_trouble_says_that_it_is_old(
    service: Service, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.sync()
    site = Site(service, tab).go()
    site.sees("In sync")
    expect(site.page.locator(".stale")).to_be_hidden()

    def broken(*_: object) -> None:
        raise LedgerError("the ledger is gone")

    with monkeypatch.context() as patched:
        patched.setattr(service.parts.controller, "stats", broken)
        expect(site.page.locator(".stale")).to_be_visible(timeout=20_000)
    expect(site.page.locator(".stale")).to_be_hidden(timeout=20_000)
    site.tab.complaints.clear()


def test_the_page_of_a_run_follows_it_no_longer_than_it_goes_on(service: Service) -> None:
    service.sync()
    with service.api.stream("GET", "/ui/runs/1/live") as answer:
        events = (line for line in answer.iter_lines() if line.startswith("event: "))
        assert [next(events), next(events)] == ["event: run", "event: over"]
    page = service.api.get("/ui/runs/1", headers={"Accept": "text/html"})
    assert "sse-connect" not in page.text


def test_all_who_look_share_one_look_a_second(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, stats = [], service.parts.controller.stats

    def counted() -> object:
        looks.append(time.monotonic())
        return stats()

    monkeypatch.setattr(service.parts.controller, "stats", counted)
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            answer = stack.enter_context(service.api.stream("GET", "/ui/live"))
            next(line for line in answer.iter_lines() if line == "event: lately")
        assert len(looks) <= 2 + (looks[-1] - looks[0])


def test_a_page_whose_stream_is_silent_says_so(site: Site, filled: Service) -> None:
    """A service that hangs closes no connection: a beat that does not come is all there is."""
    site.page.clock.install()
    site.go()
    expect(site.page.locator(".stale")).to_be_hidden()
    site.page.clock.fast_forward(41_000)
    expect(site.page.locator(".stale")).to_be_visible()
    filled.bucket.put("new/one", b"x")
    filled.parts.service.mark([("new/one", "event")])
    expect(site.page.locator(".stale")).to_be_hidden()


def test_a_question_outlives_the_part_of_the_page_that_it_was_asked_from(
    service: Service, tab: Tab
) -> None:
    go_on = threading.Event()
    service.bucket.put("a", b"x")
    service.bucket.script("a", fail.pause_until(go_on))
    run_id = service.post("/sync/trigger?background=true", 202)["run_id"]
    eventually(lambda: service.get(f"/sync/runs/{run_id}")["status"] == "running")
    site = Site(service, tab).go(f"/runs/{run_id}")
    try:
        site.page.click("text=Stop it")
        site.page.evaluate("const part = document.querySelector('.live'); part.innerHTML += ''")
        site.page.click("dialog >> text=Go on")
        eventually(lambda: service.parts.ledger.run(run_id).cancel_requested)
    finally:
        go_on.set()


def test_what_is_on_its_way_leaves_the_page_when_it_is_there(service: Service, tab: Tab) -> None:
    go_on = threading.Event()
    service.bucket.put("slow", b"x")
    service.bucket.script("slow", fail.pause_until(go_on))
    service.post("/sync/trigger?background=true", 202)
    site = Site(service, tab).go()
    moving = site.page.locator("section[aria-label='On its way']")
    try:
        expect(moving).to_contain_text("Run 1")
    finally:
        go_on.set()
    expect(moving).to_be_empty()
    site.sees("In sync")


def test_the_headline_names_what_is_not_mirrored(service: Service, tab: Tab) -> None:
    service.bucket.put("a", b"x")
    service.bucket.put("cold", b"x", storage_class="GLACIER")
    service.sync()
    site = Site(service, tab).go()
    site.sees("The mirror has 1 object of the bucket. Not mirrored: 1 archived.")


def test_a_download_is_of_the_key_that_it_stands_beside(service: Service, tab: Tab) -> None:
    """A browser resolves dots in a path, and would get another file."""
    for key in ("a/../b", "b", "..", "c/d"):
        service.bucket.put(key, f"the bytes of {key}".encode())
    service.sync()
    site = Site(service, tab).go("/files")
    for key in ("a/../b", "c/d"):
        with site.page.expect_download() as begun:
            site.page.get_by_role("link", name=f"Download {key}", exact=True).click()
        assert begun.value.path().read_text() == f"the bytes of {key}"
    expect(site.page.get_by_role("link", name="Download ..", exact=True)).to_have_count(0)


def test_a_restore_that_names_nothing_restores_nothing(filled: Service) -> None:
    for body in dict[str, str](), {"id": ""}:
        told = filled.api.post("/ui/trash/restore", data=body)
        assert told.status_code in (404, 422)
    assert not (filled.root / "gone").exists()


@pytest.mark.parametrize(
    "body, status", [("a=1&" * 21, 400), ("key=" + "%41" * 6000, 413)], ids=["fields", "bytes"]
)
@pytest.mark.parametrize("path", ["/ui/login", "/ui/trash/restore", "/ui/retry"])
def test_a_form_that_is_none_of_ours_is_refused(
    start_service: Starter, path: str, body: str, status: int
) -> None:
    service = start_service(api_keys=("the-right-key",))
    known = {} if path == "/ui/login" else {"X-API-Key": "the-right-key"}
    headers = {"Content-Type": "application/x-www-form-urlencoded", **known}
    assert service.api.post(path, content=body, headers=headers).status_code == status


@pytest.mark.parametrize(
    "path",
    [f"/ui/runs?before={2**63}", f"/ui/files?least={2**70}", f"/ui/files?least={'9' * 5000}"],
)
def test_numbers_that_are_too_large_break_nothing(service: Service, path: str) -> None:
    assert service.api.get(path).status_code in (200, 422)


def test_programs_get_json_and_browsers_get_pages(service: Service) -> None:
    assert service.get("/")["service"] == "DataSync"
    page = service.api.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    "path, status, words",
    [
        ("/nowhere/<b>", 404, "there is no page &#39;nowhere/&lt;b&gt;&#39;"),
        ("/runs/999", 404, "there is no run 999"),
        ("?span=century", 422, "span"),
    ],
)
def test_what_is_not_there_is_said_on_a_page_that_leads_on(
    service: Service, path: str, status: int, words: str
) -> None:
    answer = service.api.get(f"/ui{path}", headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert words in answer.text and '<a href="/ui/runs">' in answer.text
    assert "content-security-policy" in answer.headers
    assert service.get(f"/ui{path}", status)["error"].endswith(("Missing", "Request"))


def test_the_doctor_looks_at_the_service_that_shows_him(start_service: Starter, tab: Tab) -> None:
    service = start_service(
        aws_endpoint_url_s3="http://127.0.0.1:1",
        aws_access_key_id="hush-one",
        aws_secret_access_key="hush-two",
    )
    site = Site(service, tab).go("/doctor")
    site.page.click("text=Check everything")
    site.page.wait_for_selector("#findings table", timeout=60_000)
    site.sees("into " + str(service.root), "127.0.0.1:1")
    assert "hush" not in site.page.content()


# Who may


@pytest.fixture
def keyed(start_service: Starter, tab: Tab) -> Iterator[Site]:
    keys = ("look:the-secret-of-look:read", f"ops:{hashed('the-secret-of-ops')}:operate")
    service = start_service(api_keys=(*keys, "lambda:the-secret-of-lambda:notify"))
    yield Site(service, tab)


def log_in(site: Site, secret: str, path: str = "") -> None:
    site.go(path)
    site.page.fill("input[name=key]", secret)
    site.page.click("text=Log in >> nth=-1")


def test_who_logs_in_comes_to_the_page_that_was_asked_for(keyed: Site) -> None:
    log_in(keyed, "the-secret-of-ops", "/files?state=synced")
    keyed.page.wait_for_url("**/ui/files?state=synced")
    keyed.sees("ops")
    (cookie,) = keyed.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "the-secret" not in cookie["value"]
    keyed.go("/runs").page.click("text=Compare now")
    keyed.page.wait_for_url("**/ui/runs/1")
    keyed.page.click("text=Log out")
    keyed.page.wait_for_url("**/ui/login")
    keyed.go("/files")
    assert "/ui/login" in keyed.page.url


def test_who_may_only_look_sees_no_buttons(keyed: Site) -> None:
    log_in(keyed, "the-secret-of-look")
    keyed.sees("Objects")
    expect(keyed.page.locator("text=Compare now")).to_have_count(0)
    answer = keyed.page.evaluate(
        "fetch('/ui/sync', {method: 'POST', headers: {'X-CSRF-Token':"
        " JSON.parse(document.body.getAttribute('hx-headers'))['X-CSRF-Token']}})"
        ".then((answer) => answer.status)"
    )
    assert answer == 403
    keyed.tab.complaints.clear()  # the browser tells of the 403


@pytest.mark.parametrize(
    "secret, words", [("wrong", "no key of this service"), ("the-secret-of-lambda", "may not read")]
)
def test_who_may_not_is_told_so(keyed: Site, secret: str, words: str) -> None:
    log_in(keyed, secret)
    keyed.sees(words)
    keyed.tab.complaints.clear()  # the browser tells of the 401


def test_a_cookie_alone_changes_nothing(keyed: Site) -> None:
    """What another site makes the browser ask has the cookie, but not the token of our page."""
    log_in(keyed, "the-secret-of-ops")
    keyed.sees("Objects")
    (cookie,) = keyed.page.context.cookies()
    with httpx.Client(base_url=keyed.base, cookies={cookie["name"]: cookie["value"]}) as ours:
        right = re.search(r'"X-CSRF-Token": "(\w+)"', ours.get("/ui").text)
        assert right is not None

        def asked(**headers: str) -> int:
            return ours.post("/ui/sync", headers=headers).status_code

        other = {"Origin": "http://other.example"}
        assert asked() == 401
        assert asked(**{"X-CSRF-Token": "0" * 64}) == 401
        assert asked(**{"X-CSRF-Token": right[1]}, **other) == 401
        assert asked(**{"X-CSRF-Token": right[1]}, **{"Sec-Fetch-Site": "cross-site"}) == 401
        assert asked(**{"X-CSRF-Token": right[1]}) == 200


def test_a_cookie_is_for_tls_alone_where_there_is_tls(keyed: Site) -> None:
    for scheme, secure in (("https", True), ("http", False)):
        answer = httpx.post(
            f"{keyed.base}/ui/login",
            data={"key": "the-secret-of-look"},
            headers={"X-Forwarded-Proto": scheme},
        )
        assert answer.status_code == 303
        assert ("secure" in answer.headers["set-cookie"].lower()) is secure


@pytest.mark.parametrize(
    "where",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/uievil",
        "/ui\\..\\x",
        "/docs",
    ],
)
def test_login_leads_to_no_other_site(keyed: Site, where: str) -> None:
    keyed.go(f"/login?{urlencode({'next': where})}")
    keyed.page.fill("input[name=key]", "the-secret-of-ops")
    keyed.page.click("text=Log in >> nth=-1")
    keyed.page.wait_for_url("**/ui")
    assert keyed.page.url == f"{keyed.base}/ui"
