"""Every way the service is started, and several HTTP workers around one engine."""

import os
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.support import envelopes
from tests.support.fork_server import ForkServer
from tests.support.s3_server import S3Server
from tests.support.service_process import PROJECT, ForkedService, ServiceProcess
from tests.support.world import eventually

GUNICORN = (
    "-m",
    "gunicorn",
    "server:app",
    "-w",
    "4",
    "-k",
    "uvicorn.workers.UvicornWorker",
    "--bind",
    "127.0.0.1:{port}",
)


@pytest.mark.parametrize(
    "command",
    [
        (str(PROJECT / "server.py"),),
        ("-c", "import server; server.main()"),
        ("-m", "datasync", "serve"),
        GUNICORN,
    ],
    ids=["python server.py", "start-server", "datasync serve", "gunicorn"],
)
def test_every_start_mirrors_serves_and_stops_cleanly(
    seaweed: S3Server, tmp_path: Path, command: Sequence[str]
) -> None:
    bucket = seaweed.make_bucket()
    seaweed.client().put_object(Bucket=bucket, Key="a", Body=b"hello")
    with ServiceProcess(seaweed, bucket, tmp_path, command) as service:
        service.wait_until_up()
        eventually(service.caught_up, 20)
        assert service.files() == {"a": b"hello"}
        assert service.get("/sync/files")["files"][0]["verdict"] == "md5"
        assert service.terminate(15) == 0, service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    assert "Warning" not in service.log.read_text()


def leader(service: ServiceProcess) -> int:
    """The process that holds the lease, as the kernel knows it."""
    lease = os.stat(service.root / ".datasync" / "lease.lock").st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{lease}"):
            return int(fields[4])
    return 0


def test_four_workers_one_engine_and_a_new_leader_when_it_is_killed(
    seaweed: S3Server, tmp_path: Path
) -> None:
    bucket, client = seaweed.make_bucket(), seaweed.client()
    for number in range(20):
        client.put_object(Bucket=bucket, Key=f"{number:02}", Body=b"x" * number)
    events_only = {"ENABLE_PERIODIC_SYNC": "false"}
    with ServiceProcess(seaweed, bucket, tmp_path, GUNICORN, **events_only) as service:
        service.wait_until_up()
        assert service.post("/sync/trigger")["status"] == "success"
        stats = [service.get("/sync/stats")["objects"] for _ in range(20)]
        assert set(stats) == {20}
        runs = [service.post("/sync/trigger")["run_id"] for _ in range(4)]
        assert all(service.get(f"/sync/runs/{run}")["status"] == "success" for run in runs)
        eventually(lambda: service.get("/sync/health")["engine"] == "here")  # one of the workers
        eventually(lambda: service.get("/sync/health")["engine"] == "elsewhere")
        first = leader(service)
        assert first  # 0 would be this very process and its group
        client.put_object(Bucket=bucket, Key="before", Body=b"the leader is about to die")
        tell(service, bucket, "before")
        os.kill(first, signal.SIGKILL)
        client.put_object(Bucket=bucket, Key="after", Body=b"the leader died")
        eventually(lambda: leader(service) not in (0, first), 5)
        eventually(lambda: service.files().get("before") == b"the leader is about to die")
        tell(service, bucket, "after")
        eventually(lambda: service.files().get("after") == b"the leader died")
        # By what was told alone: no run has come between.
        assert service.get("/sync/runs")["runs"][0]["id"] == max(runs)


def tell(service: ServiceProcess, bucket: str, key: str) -> None:
    record = envelopes.records(envelopes.s3_record(key, bucket=bucket))
    assert service.post("/sync/s3-notification", json=record)["status"] == "accepted"


def test_a_process_without_the_lease_wakes_the_one_that_holds_it(
    seaweed: S3Server, tmp_path: Path
) -> None:
    """Without the bell, each of these would wait for a turn of the engine: a second."""
    bucket, client = seaweed.make_bucket(), seaweed.client()
    with ServiceProcess(seaweed, bucket, tmp_path) as leading:
        leading.wait_until_up()
        eventually(leading.caught_up, 20)
        with ServiceProcess(seaweed, bucket, tmp_path) as other:
            other.wait_until_up()
            assert leader(other) == leading.process.pid
            waited = []
            for number in range(9):
                client.put_object(Bucket=bucket, Key="k", Body=b"x" * number)
                waited.append(seconds_until_settled(other, bucket, "k"))
                assert leading.files() == {"k": b"x" * number}
    assert statistics.median(waited) < 0.4, waited


def test_a_second_service_serves_says_so_and_waits_for_one_that_is_stopped(
    seaweed: S3Server, fork_server: ForkServer, tmp_path: Path
) -> None:
    """A leader that does nothing for a while, as on a machine that sleeps, stays the only one."""
    bucket, client = seaweed.make_bucket(), seaweed.client()
    client.put_object(Bucket=bucket, Key="a", Body=b"x")
    with ForkedService(fork_server, seaweed, bucket, tmp_path) as leading:
        leading.wait_until_up()
        eventually(leading.caught_up, 20)
        with ForkedService(fork_server, seaweed, bucket, tmp_path) as other:
            other.wait_until_up()
            eventually(lambda: other.get("/sync/health")["engine"] == "elsewhere")
            assert "another process leads" in other.log.read_text()
            assert str(leading.process.pid) in other.datasync("status")["engine"]
            os.kill(leading.process.pid, signal.SIGSTOP)
            client.put_object(Bucket=bucket, Key="a", Body=b"changed")
            tell(other, bucket, "a")
            assert (
                httpx.get(f"{other.url}/sync/download/a", trust_env=False, verify=False).content
                == b"x"
            )
            health = other.get("/sync/health")
            assert (health["engine"], health["pending"]) == ("elsewhere", 1)
            assert not health["in_sync"] and leader(other) == leading.process.pid
            os.kill(leading.process.pid, signal.SIGCONT)
            eventually(lambda: other.files() == {"a": b"changed"})
            eventually(other.in_sync)
            leading.kill()
            eventually(lambda: leader(other) == other.process.pid, 5)


def seconds_until_settled(service: ServiceProcess, bucket: str, key: str) -> float:
    entity = {"bucket": {"name": bucket}, "object": {"key": key}}
    records = [{"eventName": "ObjectCreated:Put", "s3": entity}]
    started = time.monotonic()
    answer = service.post("/sync/s3-notification?wait=10", json={"Records": records})
    assert answer["status"] == "success", answer
    return time.monotonic() - started
