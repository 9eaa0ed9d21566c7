"""kill -9 in the middle of the work: nothing partial is seen, nothing stays, all becomes equal."""

import os
import random
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
        eventually(lambda: any(path.stat().st_size for path in service.staged()), 30)
        service.kill()
    assert service.files() == {"big": old}
    assert service.staged()
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(service.caught_up, 60)
        assert service.files() == {"big": new}
        assert service.staged() == []


@pytest.mark.timeout(180)
def test_kills_at_random_moments_of_many_small_downloads(seaweed: S3Server, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    bucket, client = seaweed.make_bucket(), seaweed.client()
    versions: dict[str, set[bytes]] = {}
    current: dict[str, bytes] = {}
    for round_number in range(6):
        for number in chance.sample(range(120), 60):
            key = f"k/{number:03}"
            current[key] = chance.randbytes(chance.choice([0, 10, 5000, 300_000]))
            versions.setdefault(key, set()).add(current[key])
            client.put_object(Bucket=bucket, Key=key, Body=current[key])
        with ServiceProcess(seaweed, bucket, tmp_path) as service:
            service.wait_until_up()
            wanted = chance.randrange(0, 60)
            wait_for_progress(service, current, 60 - wanted)
            service.kill()
            for key, body in service.files().items():
                assert body in versions[key], f"round {round_number}: {key} is no whole version"
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(service.caught_up, 30)
        assert service.files() == current
        assert service.staged() == []


def wait_for_progress(service: ServiceProcess, current: dict[str, bytes], left: int) -> None:
    eventually(lambda: changed(service, current) <= left or service.in_sync(), 30)


def changed(service: ServiceProcess, current: dict[str, bytes]) -> int:
    """How many keys are not yet as the bucket has them."""
    files = service.files()
    return sum(files.get(key) != body for key, body in current.items())


def test_sigterm_in_the_middle_of_a_large_download_ends_in_time(
    seaweed: S3Server, tmp_path: Path
) -> None:
    bucket, client = seaweed.make_bucket(), seaweed.client()
    client.put_object(Bucket=bucket, Key="big", Body=os.urandom(MIB) * 300)
    with ServiceProcess(seaweed, bucket, tmp_path) as service:
        service.wait_until_up()
        eventually(lambda: any(path.stat().st_size for path in service.staged()), 30)
        assert service.terminate(10) == 0
    assert service.files() == {}
    assert service.staged() == []
