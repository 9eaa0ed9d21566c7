"""Traces of real processes: across workers, of a command, and with a collector that hangs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.test_processes import GUNICORN, leader
from tests.support.collector import Collector
from tests.support.envelopes import records, s3_record
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

CALLER = "00f067aa0ba902b7"
NAMES = {"POST /sync/s3-notification", "journal", "transfer", "commit"}


def tell(service: ServiceProcess, bucket: str, key: str, trace: str) -> None:
    body = records(s3_record(key, bucket=bucket))
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
    answer = service.post("/sync/s3-notification", json=body, headers=headers)
    assert answer["status"] == "accepted", answer


def traced(collector: Collector, **more: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_SERVICE_NAME": "the mirror",
        **more,
    }


def test_a_trace_goes_through_all_processes(
    seaweed: S3Server, tmp_path: Path, collector: Collector
) -> None:
    """Told to any of four workers, done by the one that leads: the ledger carries the trace."""
    bucket, client = seaweed.make_bucket(), seaweed.client()
    traces: list[str] = []

    def told() -> set[object]:
        """Tell of some more, at once, so that no worker is the first each time; who took them."""
        more = [f"{len(traces) + number:032x}" for number in range(1, 25)]
        traces.extend(more)
        for trace in more:
            client.put_object(Bucket=bucket, Key=trace, Body=b"hello")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda trace: tell(service, bucket, trace, trace), more))
        eventually(lambda: all(set(collector.trace(t)) == NAMES for t in traces), 30)
        found = [collector.trace(trace)["journal"][0] for trace in traces]
        return {span.resource["process.pid"] for span in found}

    with ServiceProcess(seaweed, bucket, tmp_path, GUNICORN, **traced(collector)) as service:
        service.wait_until_up()
        eventually(service.caught_up, 20)
        eventually(lambda: len(told()) > 1, 60)
        engine = leader(service)
        assert service.terminate(15) == 0, service.log.read_text()
    for trace in traces:
        spans = {name: found for name, (found,) in collector.trace(trace).items()}
        assert spans["POST /sync/s3-notification"].parent == CALLER
        assert spans["transfer"].attributes["aws.s3.key"] == trace
        assert {span.resource["service.name"] for span in spans.values()} == {"the mirror"}
        assert spans["commit"].resource["process.pid"] == engine
    assert "Traceback" not in service.log.read_text()


def sync(
    seaweed: S3Server, bucket: str, folder: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "S3_BUCKET_NAME": bucket,
        "AWS_ACCESS_KEY_ID": seaweed.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
        "AWS_ENDPOINT_URL_S3": seaweed.endpoint_url,
        "LOCAL_DOWNLOAD_DIR": str(folder / "mirror"),
        "LOG_FILE": "",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "datasync", "sync"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_command_sends_its_run_before_it_ends(
    seaweed: S3Server, tmp_path: Path, collector: Collector
) -> None:
    bucket = seaweed.make_bucket()
    seaweed.client().put_object(Bucket=bucket, Key="a", Body=b"hello")
    waiting = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    done = sync(seaweed, bucket, tmp_path, **traced(collector, **waiting))
    assert done.returncode == 0, done.stderr
    (run,) = collector.spans("run")
    assert run.attributes["datasync.run.downloaded"] == 1


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_collector_that_hangs_keeps_nobody(
    seaweed: S3Server, tmp_path: Path, silent: str
) -> None:
    bucket = seaweed.make_bucket()
    seaweed.client().put_object(Bucket=bucket, Key="a", Body=b"hello")
    hanging = {"OTEL_EXPORTER_OTLP_ENDPOINT": silent, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with ServiceProcess(seaweed, bucket, tmp_path, **hanging) as service:
        service.wait_until_up()
        eventually(service.caught_up, 20)
        assert service.files() == {"a": b"hello"}
        assert service.terminate(10) == 0, service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    began = time.monotonic()
    done = sync(seaweed, bucket, tmp_path, **hanging)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert time.monotonic() - began < 10
