"""The doctor on real servers: MiniStack with its notifications, SeaweedFS with its signatures."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datasync.doctor.canary import ARRIVAL, DELETE, FOLDER, LEFT, PUT, REMOVAL
from datasync.doctor.findings import Finding, Line
from datasync.doctor.visit import visit
from tests.support.event_routes import EVENTS, KEY, ROUTES, Scene
from tests.support.real import settings_for
from tests.support.s3_server import S3Server
from tests.support.seaweed import READER_KEY
from tests.support.servers import free_ports
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

SECONDS = 30.0
SPACIOUS = {"space", "inodes"}  # depend on the disk that the tests run on
WELL = {PUT: "pass", ARRIVAL: "pass", DELETE: "pass", REMOVAL: "pass"}
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# -- without a service: what is wrong with the bucket and the ways to it --------------------------


def found(server: S3Server, bucket: str, folder: Path, **changes: object) -> dict[str, Finding]:
    """What a visit finds; nobody listens at API_PORT."""
    lines: list[Line] = []
    changes = {"api_host": "127.0.0.1", "api_port": free_ports(1)[0], **changes}
    visit(settings_for(server, bucket, folder, **changes), lines.append)
    assert list(folder.iterdir()) == []
    return {line.name: line.finding for line in lines}


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    """What is not as it should be."""
    return {
        name: finding.level.value
        for name, finding in findings.items()
        if finding.level != "pass" and name not in SPACIOUS
    }


UNSERVED = {"service": "warn", "health": "skip"}


def test_a_bucket_of_ministack(ministack: S3Server, ministack_bucket: str, tmp_path: Path) -> None:
    ministack.client().put_object(Bucket=ministack_bucket, Key="a", Body=b"1")
    findings = found(ministack, ministack_bucket, tmp_path)
    assert levels(findings) == {**UNSERVED, "notifications": "warn", "queue": "skip"}
    assert findings["notifications"].found == "the bucket sends no events"


def test_a_bucket_of_seaweedfs(seaweed: S3Server, seaweed_bucket: str, tmp_path: Path) -> None:
    findings = found(seaweed, seaweed_bucket, tmp_path)
    assert levels(findings) == {
        **UNSERVED,
        "notifications": "warn",
        "queue": "skip",
        "read": "warn",
        "checksums": "skip",
        "attributes": "skip",
    }
    assert "no object" in findings["read"].found
    seaweed.client().put_object(Bucket=seaweed_bucket, Key="a", Body=b"1")
    findings = found(seaweed, seaweed_bucket, tmp_path)
    assert findings["read"].level == findings["checksums"].level == "pass"


def test_a_bucket_that_is_not_there(ministack: S3Server, tmp_path: Path) -> None:
    findings = found(ministack, "no-such-bucket-anywhere", tmp_path)
    assert findings["server"].level == "pass"
    assert findings["list"].level == "fail"
    assert "NoSuchBucket" in findings["list"].found
    assert "S3_BUCKET_NAME" in findings["list"].advice
    assert findings["read"].level == "skip"
    assert findings["directory"].level == "pass"


@pytest.mark.parametrize("wrong", ["aws_access_key_id", "aws_secret_access_key"])
def test_keys_that_are_wrong(
    seaweed: S3Server, seaweed_bucket: str, tmp_path: Path, wrong: str
) -> None:
    findings = found(seaweed, seaweed_bucket, tmp_path, **{wrong: "a-wrong-one-of-them"})
    assert findings["server"].level == findings["clock"].level == "pass"
    assert findings["list"].level == "fail"
    assert "AWS_ACCESS_KEY_ID" in findings["list"].advice
    assert "a-wrong-one-of-them" not in repr(findings)


def test_a_bucket_in_another_region(ministack: S3Server, tmp_path: Path) -> None:
    bucket = f"in-europe-{next(_numbers)}"
    ministack.client().create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    ministack.client().put_object(Bucket=bucket, Key="a", Body=b"1")
    findings = found(ministack, bucket, tmp_path)
    assert findings["region"].level == findings["list"].level == "fail"
    assert findings["region"].advice == "Set AWS_REGION=eu-west-1."
    findings = found(ministack, bucket, tmp_path, aws_region="eu-west-1")
    assert findings["region"].level == findings["list"].level == "pass"


@pytest.fixture
def scene(ministack: S3Server, tmp_path: Path) -> Scene:
    made = Scene(ministack, f"doctor-{next(_numbers)}", tmp_path)
    s3 = made.client("s3")
    s3.create_bucket(Bucket=made.bucket)
    s3.put_object(Bucket=made.bucket, Key="a", Body=b"1")
    return made


def test_notifications_of_some_events_and_some_keys(scene: Scene) -> None:
    rules = [{"Name": "prefix", "Value": "in/"}]
    arn = scene.function()
    some = {"LambdaFunctionArn": arn, "Events": EVENTS[:1]}
    scene.notify(LambdaFunctionConfigurations=[{**some, "Filter": {"Key": {"FilterRules": rules}}}])
    finding = found(scene.server, scene.bucket, scene.folder)["notifications"]
    assert finding.level == "warn"
    assert "not s3:ObjectRemoved:*" in finding.found
    assert "s3:ObjectCreated:* not of every key" in finding.found
    below = found(scene.server, scene.bucket, scene.folder, s3_prefix="in/")["notifications"]
    assert "not of every key" not in below.found


def test_eventbridge(scene: Scene) -> None:
    scene.notify(EventBridgeConfiguration={})
    finding = found(scene.server, scene.bucket, scene.folder)["notifications"]
    assert finding.level == "warn"
    assert "EventBridge: whether that leads here" in finding.found


def queue_settings(scene: Scene, url: str) -> dict[str, object]:
    return {"sqs_queue_url": url, "aws_endpoint_url_sqs": scene.server.endpoint_url}


def test_a_queue_with_dead_letters(scene: Scene) -> None:
    client = scene.client("sqs")
    url, arn = scene.queue()
    dead = client.create_queue(QueueName=f"{scene.bucket}-dead")["QueueUrl"]
    asked = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": asked["QueueArn"], "maxReceiveCount": "5"}
    client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
    scene.notify(QueueConfigurations=[{"QueueArn": arn, "Events": EVENTS}])
    findings = found(scene.server, scene.bucket, scene.folder, **queue_settings(scene, url))
    assert levels(findings) == {**UNSERVED, "queue receive": "skip"}
    assert findings["notifications"].found == f"events of every kind go to queue {scene.bucket}"
    client.send_message(QueueUrl=dead, MessageBody="given up")
    findings = found(scene.server, scene.bucket, scene.folder, **queue_settings(scene, url))
    assert findings["dead letters"].found == "1 messages were given up"
    assert "1 messages wait" in findings["queue backlog"].found  # S3's greeting: nobody took it


def test_a_queue_that_is_not_there(scene: Scene) -> None:
    url = f"{scene.server.endpoint_url}/000000000000/no-such-queue"
    findings = found(scene.server, scene.bucket, scene.folder, **queue_settings(scene, url))
    assert findings["queue"].level == "fail"
    assert "SQS_QUEUE_URL" in findings["queue"].advice
    assert findings["queue backlog"].level == findings["dead letters"].level == "skip"
    assert findings["list"].level == "pass"


# -- the canary ----------------------------------------------------------------------------------


@contextmanager
def canary(service: ServiceProcess, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command with a canary, while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "datasync", "doctor", "--canary", *arguments],
        cwd=service.folder,
        env=service.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def result(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and the lines by name, of the command with --json."""
    out, err = process.communicate(timeout=120)
    assert err == b""
    return process.returncode, {check["name"]: check for check in json.loads(out)["checks"]}


def of_canary(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: check["level"] for name, check in checks.items() if name.startswith("canary")}


def canaries(scene: Scene) -> list[str]:
    """Every version and every delete marker that a canary left in the bucket."""
    told = scene.client("s3").list_object_versions(Bucket=scene.bucket, Prefix=FOLDER)
    return [each["Key"] for kind in ("Versions", "DeleteMarkers") for each in told.get(kind, [])]


@pytest.mark.parametrize("name, versioned", [("lambda", False), ("sqs", True)])
def test_a_canary_flies_and_leaves_nothing(scene: Scene, name: str, versioned: bool) -> None:
    if versioned:
        scene.client("s3").put_bucket_versioning(
            Bucket=scene.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    route = ROUTES[name]
    route.prepare(scene)
    with scene.ends, scene.service() as service:
        service.wait_until_up()
        route.connect(scene, service)
        with canary(service, "--json") as process:
            code, checks = result(process)
        assert service.terminate() == 0
    assert code == 0, checks
    assert of_canary(checks) == WELL
    assert checks[ARRIVAL]["found"].endswith("s, by an event")
    assert checks["service"]["level"] == checks["lease"]["level"] == "pass"
    assert "held by" in checks["lease"]["found"]
    assert canaries(scene) == []
    assert [path for path in service.files() if path.startswith(FOLDER)] == []
    assert list((service.root / ".datasync").glob("doctor-*")) == []
    assert checks[REMOVAL]["found"].startswith("the file went to the trash")
    assert len(list((service.root / ".datasync" / "trash").rglob("*.txt"))) == 1


@pytest.fixture
def deaf(scene: Scene) -> Iterator[ServiceProcess]:
    """A service that no event reaches."""
    with scene.service() as service:
        service.wait_until_up()
        yield service
        assert service.terminate() == 0


def test_a_canary_without_events_waits_in_vain_and_is_removed(
    scene: Scene, deaf: ServiceProcess
) -> None:
    with canary(deaf, "--timeout", "1") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    rows = [line.split("\t") for line in out.decode().splitlines()]
    told = {name: (level, text) for level, name, text, _ in rows}
    assert told[ARRIVAL] == ("fail", "no file within 1 s: no event has come")
    assert told[LEFT][0] == "pass"
    assert REMOVAL not in told
    assert b"1 failed" in err
    assert canaries(scene) == []


def test_a_file_that_only_a_run_brings_is_told(scene: Scene, deaf: ServiceProcess) -> None:
    def trigger() -> None:
        deaf.post("/sync/trigger", headers={"X-API-Key": KEY})

    with canary(deaf, "--json") as process:
        eventually(lambda: canaries(scene), SECONDS)
        trigger()
        eventually(lambda: not canaries(scene), SECONDS)
        trigger()
        code, checks = result(process)
    assert code == 0
    assert of_canary(checks) == {**WELL, ARRIVAL: "warn", REMOVAL: "warn"}
    assert "not by an event" in checks[ARRIVAL]["found"]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGHUP, 143)])
def test_a_canary_that_is_stopped_is_removed(
    scene: Scene, deaf: ServiceProcess, number: int, code: int
) -> None:
    with canary(deaf) as process:
        eventually(lambda: canaries(scene), SECONDS)
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"canary left\tnothing in the bucket" in out
    assert canaries(scene) == []
    assert list((deaf.root / ".datasync").glob("doctor-*")) == []


def test_a_reader_may_not_put_a_canary(
    seaweed: S3Server, seaweed_bucket: str, tmp_path: Path
) -> None:
    with ServiceProcess(seaweed, seaweed_bucket, tmp_path, AWS_ACCESS_KEY_ID=READER_KEY) as service:
        service.wait_until_up()
        with canary(service, "--json") as process:
            code, checks = result(process)
        assert service.terminate() == 0
    assert code == 1
    assert checks["list"]["level"] == "pass"
    assert of_canary(checks) == {PUT: "fail"}
    assert checks[PUT]["advice"] == (
        f"Grant s3:PutObject on {seaweed_bucket}/{FOLDER}* to these credentials."
    )
