"""Whatever is sent to the notification route, it answers, soon, and never with a 5xx.

`FUZZ_EXAMPLES=n` tries so many of each kind; 200,000 take about ten minutes.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasync.services.events.kinds import KINDS
from datasync.utils.logger import close_logging
from tests.support import envelopes
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service

URL = "/sync/s3-notification"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
pytestmark = [pytest.mark.timeout(300 + EXAMPLES // 10), pytest.mark.no_cover]
ANSWER_SECONDS = 5.0
TAKEN_OR_REFUSED = {200, 202, 400, 401, 413, 415, 422}

run = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


sqlite_only = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
on_each_database = pytest.mark.parametrize("service", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One service on each database for all that is tried here."""
    folder = request.getfixturevalue("tmp_path_factory").mktemp("fuzz")
    settings = {"notification_secret": "secret"}
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        server.run("CREATE DATABASE fuzz")
        settings["database_url"] = server.url("fuzz")
    made = Service(folder, FakeBucket(), **settings)
    yield made.start()
    made.stop()
    close_logging()


@sqlite_only
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
names = st.builds(str.__add__, st.sampled_from(["", *(f"{name}:" for name in KINDS)]), st.text())
times = st.datetimes().map(datetime.isoformat) | st.sampled_from(["0001-01-01T00:00:00Z", "W1"])
# What a sender may say of an event, odd but of the kind that is read there
odd = {"eventName": names, "detail-type": names, "eventTime": times, "time": times}
keys = st.text(min_size=1, max_size=40) | st.sampled_from(["../../x", "%2e%2e", "a\x00b", "+", "%"])


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A real envelope with one member, somewhere in it, replaced or left out."""
    made = envelopes.ENVELOPES[draw(st.sampled_from(sorted(envelopes.ENVELOPES)))]
    document = made(draw(keys))
    places = list(_places(document))
    holder, name = draw(st.sampled_from(places))
    if draw(st.booleans()):
        holder[name] = draw(odd.get(name, trees))
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


@on_each_database
@run
@given(body=bent() | st.binary(max_size=300) | plain)
def test_bent_envelopes_and_other_bodies(service: Service, body: bytes) -> None:
    began = time.monotonic()
    answer = service.api.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in TAKEN_OR_REFUSED, answer.text
    assert set(answer.json()) >= ({"status"} if answer.status_code < 300 else {"error", "hint"})
    assert time.monotonic() - began < ANSWER_SECONDS


@st.composite
def odd_records(draw: st.DrawFn) -> bytes:
    """Records that are sound but for what their sender says of type, time and maker."""
    makers = [envelopes.s3_record, envelopes.minio_record, envelopes.ceph_record]
    made = []
    for _ in range(draw(st.integers(1, 5))):
        record = draw(st.sampled_from(makers))(draw(keys))
        record["eventName"], record["eventTime"] = draw(names), draw(times)
        made.append(record)
    return json.dumps(envelopes.records(*made)).encode("utf-8", "surrogatepass")


@on_each_database
@run
@given(body=odd_records())
def test_odd_types_and_times_of_events(service: Service, body: bytes) -> None:
    answer = service.api.post(URL, content=body)
    assert answer.status_code in TAKEN_OR_REFUSED, answer.text


@sqlite_only
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
