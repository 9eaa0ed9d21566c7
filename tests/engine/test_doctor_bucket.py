"""The doctor and a server that refuses, does not know, hangs or has another clock."""

import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from datasync.composition import s3_bucket
from datasync.config.loading import load_settings
from datasync.doctor.aws import Aws
from datasync.doctor.bucket_checks import BucketChecks
from datasync.doctor.event_checks import EventChecks
from datasync.doctor.findings import Finding, Level
from datasync.doctor.rounds import Check, Round, looked
from tests.support.command_line import use_settings
from tests.support.scripted_server import (
    Peer,
    Reply,
    ScriptedServer,
    Seen,
    answer,
    good,
    refuse,
    stall_before_head,
)
from tests.support.world import eventually

BODY = b"content"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
LISTING = f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="{NAMESPACE}"><Name>my-bucket</Name><Prefix></Prefix>
<KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>
<IsTruncated>false</IsTruncated><Contents><Key>a.txt</Key>
<LastModified>2026-11-23T08:00:00.000Z</LastModified><ETag>"9a0364b9e99bb480dd25e1f0284c8555"</ETag>
<Size>7</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>""".encode()
NO_NOTIFICATION = f'<NotificationConfiguration xmlns="{NAMESPACE}"/>'.encode()


def location(region: str) -> bytes:
    return f'<LocationConstraint xmlns="{NAMESPACE}">{region}</LocationConstraint>'.encode()


def question(seen: Seen) -> str:
    """What a request asks for."""
    path, _, query = seen.target.partition("?")
    for name in ("list-type", "location", "notification", "attributes"):
        if name in query.replace("=", "&").split("&"):
            return name
    if path.rstrip("/").count("/") == 1:
        return "bucket"
    return "head" if seen.method == "HEAD" else "object"


class Clinic:
    """A bucket on a scripted server; `script` says what the server answers to which question."""

    def __init__(self, server: ScriptedServer, **given: Any) -> None:
        self.server = server
        self.replies: dict[str, Reply] = {
            "bucket": answer("200 OK", Date=formatdate(usegmt=True)),
            "list-type": answer("200 OK", LISTING),
            "location": answer("200 OK", location("us-east-1")),
            "notification": answer("200 OK", NO_NOTIFICATION),
            "attributes": answer("200 OK", b"<GetObjectAttributesResponse/>"),
            "head": good(BODY),
            "object": good(BODY),
        }
        settings = load_settings(
            aws_endpoint_url_s3=server.url,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret/of/the/key",
            s3_bucket_name="my-bucket",
            **given,
        )
        self.aws, self.bucket = Aws(settings), s3_bucket(settings)
        self.checks = BucketChecks(settings, self.bucket, self.aws)
        self.events = EventChecks(settings, self.aws)
        server.script(self._reply)

    def _reply(self, peer: Peer, seen: Seen) -> bool:
        return self.replies[question(seen)](peer, seen)

    def examine(self) -> dict[str, Finding]:
        """Every check, in the order in which one leaves for the next what it found."""
        checks = self.checks
        order = {
            "server": checks.server,
            "clock": checks.clock,
            "list": checks.listing,
            "region": checks.region,
            "read": checks.reading,
            "checksums": checks.proofs,
            "attributes": checks.attributes,
            "notifications": self.events.notifications,
        }
        return {name: looked(look) for name, look in order.items()}

    def close(self) -> None:
        self.aws.close()
        self.bucket.close()


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    use_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ScriptedServer() as server:
        made = Clinic(server)
        yield made
        made.close()


def levels(found: dict[str, Finding]) -> dict[str, str]:
    """What is not as it should be."""
    return {n: f.level.value for n, f in found.items() if f.level is not Level.PASS}


def test_a_bucket_in_order(clinic: Clinic) -> None:
    found = clinic.examine()
    assert levels(found) == {"notifications": "warn"}
    assert found["server"].found == f"{clinic.server.url} answers"
    assert found["list"].found == "s3:ListBucket is allowed; 'my-bucket' has 1 object"
    assert found["read"].found == "s3:GetObject is allowed ('a.txt')"
    assert found["notifications"].found == "the bucket sends no events"


def test_only_a_byte_is_read_and_nothing_is_written(clinic: Clinic) -> None:
    clinic.examine()
    assert {seen.method for seen in clinic.server.requests} == {"GET", "HEAD"}
    reads = [seen for seen in clinic.server.requests if question(seen) == "object"]
    assert [seen.headers["range"] for seen in reads] == ["bytes=0-0"]


def test_the_probe_of_the_server_is_not_signed(clinic: Clinic) -> None:
    clinic.checks.server()
    (seen,) = clinic.server.requests
    assert (seen.method, "authorization" in seen.headers) == ("HEAD", False)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "301 Moved Permanently"])
def test_a_server_that_refuses_is_a_server(clinic: Clinic, status: str) -> None:
    clinic.replies["bucket"] = answer(
        status, Date=formatdate(usegmt=True), x_amz_bucket_region="us-east-1"
    )
    found = clinic.examine()
    assert levels(found) == {"notifications": "warn"}
    assert found["region"].found == "the bucket is in us-east-1, as AWS_REGION says"


def test_a_server_that_is_not_there(clinic: Clinic) -> None:
    clinic.server.close()
    finding = looked(clinic.checks.server)
    assert finding.level is Level.FAIL
    assert "EndpointConnectionError" in finding.found


def test_a_server_that_hangs_is_left_behind(clinic: Clinic) -> None:
    clinic.replies["bucket"] = stall_before_head()
    told: list[str] = []
    checks = [
        Check("server", clinic.checks.server, seconds=3.0),
        Check("list", clinic.checks.listing),
    ]
    lines = Round(checks, lambda line: told.append(line.name)).run()
    assert told == ["list", "server"]
    assert lines["server"].finding.found == "no answer within 3 seconds"


def test_closing_ends_a_listing_that_hangs(clinic: Clinic) -> None:
    clinic.replies["list-type"] = stall_before_head()
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.append(looked(clinic.checks.listing)))
    Round([Check("list", clinic.checks.listing, seconds=0.2)], lambda _line: None).run()
    thread.start()
    eventually(lambda: len(clinic.server.requests) == 2)
    clinic.bucket.close()
    thread.join(10)
    assert found[0].level is Level.FAIL


@pytest.mark.parametrize("off, level", [(-120, "warn"), (5_000, "fail")])
def test_another_clock(clinic: Clinic, off: float, level: str) -> None:
    date = formatdate(time.time() - off, usegmt=True)
    clinic.replies["bucket"] = answer("200 OK", Date=date)
    assert clinic.examine()["clock"].level == level


def test_a_server_without_a_date(clinic: Clinic) -> None:
    clinic.replies["bucket"] = answer("200 OK", Date="")
    assert clinic.examine()["clock"].level is Level.SKIP


def test_another_region(clinic: Clinic) -> None:
    clinic.replies["bucket"] = answer("200 OK", x_amz_bucket_region="eu-west-1")
    clinic.replies["list-type"] = refuse("301 Moved", "PermanentRedirect")
    found = clinic.examine()
    assert found["region"].level is Level.FAIL
    assert found["region"].advice == "Set AWS_REGION=eu-west-1."
    assert found["list"].level is Level.FAIL


def test_a_region_that_only_the_location_tells(clinic: Clinic) -> None:
    clinic.replies["location"] = answer("200 OK", location("eu-west-1"))
    finding = clinic.examine()["region"]
    assert finding.level is Level.WARN  # the listing works, so this server does not mind
    assert "the bucket is in eu-west-1" in finding.found


@pytest.mark.parametrize(
    "reply", [refuse("403 Forbidden", "AccessDenied"), answer("200 OK", location(""))]
)
def test_a_server_that_tells_no_region(clinic: Clinic, reply: Reply) -> None:
    clinic.replies["location"] = reply
    assert clinic.examine()["region"].found == "the server does not tell one"


def test_no_permission_to_list(clinic: Clinic) -> None:
    clinic.replies["list-type"] = refuse("403 Forbidden", "AccessDenied")
    found = clinic.examine()
    assert found["list"].level is Level.FAIL
    assert "s3:ListBucket" in found["list"].advice


def test_an_empty_bucket_leaves_the_read_untried(clinic: Clinic) -> None:
    start, end = LISTING.index(b"<Contents>"), LISTING.index(b"</ListBucketResult>")
    empty = (LISTING[:start] + LISTING[end:]).replace(b"<KeyCount>1", b"<KeyCount>0")
    clinic.replies["list-type"] = answer("200 OK", empty)
    found = clinic.examine()
    assert found["list"].found == "s3:ListBucket is allowed; 'my-bucket' is empty"
    assert found["read"].level is Level.WARN
    assert found["checksums"].level is found["attributes"].level is Level.SKIP


@pytest.mark.parametrize(
    "encryption, advice",
    [
        ({}, "Grant s3:GetObject"),
        (
            {
                "x_amz_server_side_encryption": "aws:kms",
                "x_amz_server_side_encryption_aws_kms_key_id": "arn:aws:kms:eu-west-1:1:key/k",
            },
            "Grant kms:Decrypt on arn:aws:kms:eu-west-1:1:key/k",
        ),
    ],
)
def test_no_permission_to_read(clinic: Clinic, encryption: dict[str, str], advice: str) -> None:
    clinic.replies["object"] = refuse("403 Forbidden", "AccessDenied")
    clinic.replies["head"] = good(BODY, **encryption)
    finding = clinic.examine()["read"]
    assert finding.level is Level.FAIL
    assert finding.advice.startswith(advice)


def test_an_object_that_goes_away_meanwhile(clinic: Clinic) -> None:
    clinic.replies["object"] = refuse("404 Not Found", "NoSuchKey")
    assert clinic.examine()["read"].level is Level.WARN


def test_attributes_are_optional(clinic: Clinic) -> None:
    clinic.replies["attributes"] = refuse("403 Forbidden", "AccessDenied")
    finding = clinic.examine()["attributes"]
    assert finding.level is Level.PASS
    assert "is not allowed, and optional" in finding.found
    clinic.replies["attributes"] = refuse("501 Not Implemented", "NotImplemented")
    assert clinic.examine()["attributes"].level is Level.SKIP


def test_notifications_that_may_not_be_read(clinic: Clinic) -> None:
    clinic.replies["notification"] = refuse("403 Forbidden", "AccessDenied")
    finding = clinic.examine()["notifications"]
    assert finding.level is Level.WARN
    assert "Grant s3:GetBucketNotification" in finding.advice
    clinic.replies["notification"] = refuse("501 Not Implemented", "NotImplemented")
    assert clinic.examine()["notifications"].level is Level.SKIP
    clinic.replies["notification"] = refuse("403 Forbidden", "InvalidAccessKeyId")
    assert clinic.examine()["notifications"].level is Level.FAIL


def test_a_profile_of_the_environment_does_not_get_in_the_way(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of the settings win over it, as they do in the service."""
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "nowhere")
    assert levels(clinic.examine()) == {"notifications": "warn"}
