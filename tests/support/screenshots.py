"""Takes the pictures of the pages that the documents show.

    python -m tests.support.screenshots

From a service with made-up objects, so that they show what a page looks like in real use.
"""

import math
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from datasync.errors import AccessDenied
from datasync.models.figures import Moving
from datasync.models.sync_models import Operation, Outcome, OutcomeStatus, Settlement
from tests.support import fail
from tests.support.browser import ARGUMENTS, CHROMIUM
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service

IMAGES = Path(__file__).parents[2] / "docs" / "images"
GIB = 2**30
PICTURES = (
    ("dashboard", "", "light", 1240, 860),
    ("dashboard-dark", "", "dark", 1240, 860),
    ("dashboard-run", "/runs/3", "light", 1240, 700),
)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), _bucket(), s3_bucket_name="acme-reports")
        service.start()
        service.app.state.pages._common["directory"] = "/srv/reports"
        try:
            _live_through(service)
            _take(service)
        finally:
            service.stop()


def _bucket() -> FakeBucket:
    bucket, chance = FakeBucket(), random.Random(7)
    for month in range(1, 13):
        for day in range(1, 29):
            size = chance.randrange(2_000, 90_000)
            bucket.put(f"reports/2026/{month:02}/{day:02}.parquet", chance.randbytes(size))
    for number in range(40):
        bucket.put(f"models/checkpoint-{number:03}.bin", chance.randbytes(60_000))
    bucket.put("private/salaries.csv", b"not for us")
    refused = AccessDenied("S3 answered 403 AccessDenied")
    bucket.script("private/salaries.csv", fail.error(refused, times=99))
    return bucket


def _live_through(service: Service) -> None:
    """A day of events, then runs: one fails for a key, one is held, and large files move."""
    chance, now = random.Random(8), time.time()
    service.sync()
    told = []
    for minute in range(1, 24 * 60):
        busy = 1.2 + math.sin(minute / 7) + math.sin(minute / 41)
        for _ in range(int(max(0.0, busy) * chance.random() * 4)):
            told.append(_event(now - 60 * minute, chance))
    service.parts.ledger.settle(Settlement(outcomes=tuple(reversed(told))))
    service.sync()
    for number in range(40):
        service.bucket.delete(f"models/checkpoint-{number:03}.bin")
    for day in range(1, 29):
        service.bucket.delete(f"reports/2026/01/{day:02}.parquet")
        service.bucket.delete(f"reports/2026/02/{day:02}.parquet")
    service.sync()


def _event(at: float, chance: random.Random) -> Outcome:
    day, month = chance.randrange(1, 29), chance.randrange(1, 13)
    key = f"reports/2026/{month:02}/{day:02}.parquet"
    done = Outcome(key, Operation.DOWNLOAD, OutcomeStatus.SUCCESS, "Downloaded", at)
    lag = 0.02 + chance.expovariate(20)
    return replace(done, bytes=chance.randrange(200_000, 60_000_000), lag_seconds=lag, seconds=lag)


def _take(service: Service) -> None:
    moving = [
        Moving("models/checkpoint-100.bin", 14 * GIB, 9 * GIB, 1.0, 3),
        Moving("reports/2026/12/full.tar", 3 * GIB, GIB // 2, 2.0, None),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        for name, path, scheme, width, height in PICTURES:
            service.parts.ledger.note_transfers(moving, time.time())
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            _shoot(context.new_page(), service, path, IMAGES / f"{name}.png")
            context.close()
        browser.close()


def _shoot(page: Page, service: Service, path: str, file: Path) -> None:
    page.goto(f"http://127.0.0.1:{service.port}/ui{path}")
    page.wait_for_timeout(600)
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
