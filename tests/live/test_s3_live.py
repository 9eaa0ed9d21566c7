"""The S3 adapter on real servers: SeaweedFS with signatures enforced, and MiniStack."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from datasync.errors import BucketMissing, CredentialsRejected, ObjectMissing
from datasync.models.sync_models import ObjectRequest
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3.credentials import source
from datasync.services.storage.s3.endpoint import S3Config
from tests.engine.test_bucket_contract import BucketContract
from tests.support.receivers import fetch
from tests.support.s3_server import S3Server
from tests.support.servers import listens_beyond_loopback


class LiveArranged:
    """A bucket on a server, filled with boto3."""

    def __init__(self, server: S3Server) -> None:
        self._client = server.client()
        keys = source(server.access_key, server.secret_key)
        self.name = server.make_bucket()
        self.config = S3Config(self.name, server.region, server.endpoint_url, keys)
        self.bucket = S3Bucket(self.config)

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=body)

    def put_parts(self, key: str, parts: list[bytes]) -> None:
        made = self._client.create_multipart_upload(Bucket=self.name, Key=key)
        upload = made["UploadId"]
        done = []
        for number, part in enumerate(parts, start=1):
            sent = self._client.upload_part(
                Bucket=self.name, Key=key, UploadId=upload, PartNumber=number, Body=part
            )
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._client.complete_multipart_upload(
            Bucket=self.name,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": done},  # type: ignore[typeddict-item]
        )

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)


def arrange(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveArranged]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    arranged = LiveArranged(server)
    yield arranged
    arranged.bucket.close()


class TestS3Bucket(BucketContract):
    """On SeaweedFS."""

    @pytest.fixture
    def arranged(
        self, seaweed: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[LiveArranged]:
        yield from arrange(seaweed, monkeypatch)

    def test_a_wrong_secret_is_rejected(self, arranged: LiveArranged) -> None:
        arranged.put("a", b"x")
        wrong = S3Bucket(replace(arranged.config, credentials=source("seaweed-access", "wrong")))

        with pytest.raises(CredentialsRejected):
            wrong.check(10.0)
        with pytest.raises(CredentialsRejected):
            list(wrong.list())
        with pytest.raises(CredentialsRejected):
            wrong.head("a")
        assert type(fetch(wrong, ObjectRequest("a"))[0].error) is CredentialsRejected
        wrong.close()

    def test_a_missing_bucket_is_no_missing_object(self, arranged: LiveArranged) -> None:
        gone = S3Bucket(replace(arranged.config, bucket="no-such-bucket"))

        with pytest.raises(BucketMissing):
            gone.check(10.0)
        with pytest.raises(BucketMissing):
            list(gone.list())
        with pytest.raises(BucketMissing):
            gone.head("a")
        assert type(fetch(gone, ObjectRequest("a"))[0].error) is BucketMissing
        gone.close()


class TestMiniStackBucket(BucketContract):
    """On MiniStack, which stores keys as S3 does, verbatim."""

    @pytest.fixture
    def arranged(
        self, ministack: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[LiveArranged]:
        yield from arrange(ministack, monkeypatch)

    @pytest.mark.parametrize("key", ["a//b", "a/../b", "./x", "/lead", "dir/", "ctl\x01x", "nl\nx"])
    def test_keys_that_other_clients_cannot_fetch(self, arranged: LiveArranged, key: str) -> None:
        arranged.put(key, b"body")

        (page,) = arranged.bucket.list()

        assert [each.key for each in page.objects] == [key]
        assert fetch(arranged.bucket, ObjectRequest(key))[1].body == b"body"
        arranged.delete(key)
        assert isinstance(fetch(arranged.bucket, ObjectRequest(key))[0].error, ObjectMissing)


@pytest.mark.parametrize("name", ["seaweed", "ministack"])
def test_the_servers_listen_on_loopback_only(name: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(name)

    assert os.path.exists(f"/proc/{server.pid}")
    assert listens_beyond_loopback(server.pid) == []
