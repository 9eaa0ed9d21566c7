"""kill -9 in the middle of the work: nothing partial is seen, nothing stays, all becomes equal."""

import os
from pathlib import Path

import pytest

from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

MIB = 2**20


@pytest.mark.timeout(180)
def test_a_kill_in_the_middle_of_a_large_download(seaweed: S3Server, tmp_path: Path) -> None:
    bucket, client = seaweed.make_bucket(), seaweed.client()
    old, new = b"the version before", os.urandom(MIB) * 300
    client.put_object(Bucket=bucket, Key="big", Body=old)
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(service.caught_up, 30)
        client.put_object(Bucket=bucket, Key="big", Body=new)
        service.post("/sync/trigger?background=true")
        eventually(lambda: service.largest_staged() > MIB, 30)
        service.kill()
    assert service.files() == {"big": old}
    assert service.staged()
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(service.caught_up, 60)
        assert service.files() == {"big": new}
        assert service.staged() == []


def test_sigterm_in_the_middle_of_a_large_download_ends_in_time(
    seaweed: S3Server, tmp_path: Path
) -> None:
    bucket, client = seaweed.make_bucket(), seaweed.client()
    client.put_object(Bucket=bucket, Key="big", Body=os.urandom(MIB) * 300)
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(lambda: service.largest_staged() > MIB, 30)
        assert service.terminate(10) == 0
    assert service.files() == {}
    assert service.staged() == []
