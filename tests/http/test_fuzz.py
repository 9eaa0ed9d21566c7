"""Whatever is sent to the notification route, it answers, soon, and never with a 5xx.

`FUZZ_EXAMPLES=n` tries so many of each kind; 200,000 take about ten minutes.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasync.utils.logger import close_logging
from tests.support import envelopes
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service

URL = "/sync/s3-notification"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
pytestmark = pytest.mark.timeout(300 + EXAMPLES // 10)
ANSWER_SECONDS = 5.0
TAKEN_OR_REFUSED = {200, 202, 400, 401, 413, 415, 422}

run = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One service for all that is tried here."""
    folder = request.getfixturevalue("tmp_path_factory").mktemp("fuzz")
    made = Service(folder, FakeBucket(), notification_secret="secret")
    yield made.start()
    made.stop()
    close_logging()


def test_what_the_document_describes(service: Service) -> None:
    schema = schemathesis.openapi.from_url(f"{service.api.base_url}/openapi.json")
    strategy = schema[URL]["POST"].as_strategy()

    @run
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.query.pop("wait", None)  # waiting is what it asks for
        answer = case.call()
        assert answer.status_code in TAKEN_OR_REFUSED, answer.text

    ask()


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
keys = st.text(min_size=1, max_size=40) | st.sampled_from(["../../x", "%2e%2e", "a\x00b", "+", "%"])


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A real envelope with one member, somewhere in it, replaced or left out."""
    made = envelopes.ENVELOPES[draw(st.sampled_from(sorted(envelopes.ENVELOPES)))]
    document = made(draw(keys))
    places = list(_places(document))
    holder, name = draw(st.sampled_from(places))
    if draw(st.booleans()):
        holder[name] = draw(trees)
    else:
        del holder[name]
    return json.dumps(document).encode("utf-8", "surrogatepass")


plain = st.builds(lambda tree: json.dumps(tree).encode(), trees)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in list(items):
        yield value, name
        if isinstance(inner, dict | list):
            yield from _places(inner)


@run
@given(body=bent() | st.binary(max_size=300) | plain)
def test_bent_envelopes_and_other_bodies(service: Service, body: bytes) -> None:
    began = time.monotonic()
    answer = service.api.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in TAKEN_OR_REFUSED, answer.text
    assert set(answer.json()) >= ({"status"} if answer.status_code < 300 else {"error", "hint"})
    assert time.monotonic() - began < ANSWER_SECONDS


@run
@given(
    stamp=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    signature=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80),
)
def test_odd_signatures(service: Service, stamp: str, signature: str) -> None:
    headers = {
        "X-DataSync-Timestamp": stamp.encode("latin-1"),
        "X-DataSync-Signature": signature.encode("latin-1"),
    }
    answer = service.api.post(URL, content=b"{}", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code in {401, 422, 429}, answer.text
