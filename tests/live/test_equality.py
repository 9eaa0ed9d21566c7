"""Two thousand varied objects on real servers: they arrive equal, and stay equal."""

import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from datasync.models.sync_models import RunStatus, Verdict
from tests.support.real import RealWorld, real_world
from tests.support.s3_server import S3Server

MIB = 2**20
NAMES = (
    "plain",
    "with space",
    "plus+sign",
    "per%20cent",
    "ümläut",
    "日本語",
    "emoji😀",
    "a'b\"c",
    "x=y&z",
)


def varied_objects(count: int) -> dict[str, bytes]:
    """Keys and bodies of every size up to 100 KiB, the same in every run."""
    chance = random.Random(20_26)
    objects = {"empty": b"", "one": b"1"}
    while len(objects) < count:
        number = len(objects)
        name = NAMES[number % len(NAMES)]
        key = f"{chance.choice(['', 'a/', 'a/b/', 'Ü/ + /'])}{name}-{number}"
        objects[key] = chance.randbytes(chance.choice([0, 1, 100, 4096, 65536, 100_000]))
    return objects


def upload(server: S3Server, bucket: str, objects: dict[str, bytes]) -> None:
    client = server.client()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=item[1]),
                objects.items(),
            )
        )


def upload_parts(server: S3Server, bucket: str, key: str, path: Path) -> None:
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    server.client().upload_file(str(path), bucket, key, Config=config)


@pytest.fixture(params=["seaweed", "ministack"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


@pytest.mark.timeout(300)
def test_two_thousand_objects_arrive_equal_and_stay_equal(server: S3Server, tmp_path: Path) -> None:
    bucket = server.make_bucket()
    objects = varied_objects(2_000)
    upload(server, bucket, objects)
    large, multipart = tmp_path / "large", tmp_path / "multipart"
    large.write_bytes(os.urandom(MIB) * 300)
    multipart.write_bytes(os.urandom(21 * MIB + 17))
    with large.open("rb") as body:
        server.client().put_object(Bucket=bucket, Key="large", Body=body)
    upload_parts(server, bucket, "multipart", multipart)
    with real_world(server, bucket, tmp_path) as world:
        run = world.sync()
        assert (run.status, run.counts.failed) == (RunStatus.SUCCESS, 0)
        assert digest(world, "large") == file_digest(large)
        assert digest(world, "multipart") == file_digest(multipart)
        assert verdict(world, "multipart") is Verdict.MULTIPART_MD5
        assert without(world.content(), "large", "multipart") == objects
        nothing_changed(world)
        changes_follow(world, objects)
        nothing_changed(world)


def nothing_changed(world: RealWorld) -> None:
    """A further run asks for the listing and for nothing else."""
    world.counts.clear()
    run = world.sync()
    assert (run.status, run.counts.planned) == (RunStatus.SUCCESS, 0)
    assert set(world.counts) == {"list"}


def changes_follow(world: RealWorld, objects: dict[str, bytes]) -> None:
    """Same-size changes, other changes, new objects and deletes arrive within one run."""
    client, keys = world.server.client(), sorted(objects)
    for key in keys[:20]:
        objects[key] = bytes(len(objects[key]))
        client.put_object(Bucket=world.name, Key=key, Body=objects[key])
    for key in keys[20:30]:
        objects[key] = objects[key] + b"!"
        client.put_object(Bucket=world.name, Key=key, Body=objects[key])
    for key in keys[30:40]:
        client.delete_object(Bucket=world.name, Key=key)
        del objects[key]
    objects["brand/new"] = b"new"
    client.put_object(Bucket=world.name, Key="brand/new", Body=b"new")
    run = world.sync()
    assert (run.status, run.counts.deleted) == (RunStatus.SUCCESS, 10)
    assert without(world.content(), "large", "multipart") == objects


def without(content: dict[str, bytes], *keys: str) -> dict[str, bytes]:
    return {key: body for key, body in content.items() if key not in keys}


def digest(world: RealWorld, key: str) -> str:
    row = world.parts.ledger.get(key)
    assert row is not None and row.path is not None
    return file_digest(world.root / row.path)


def verdict(world: RealWorld, key: str) -> Verdict | None:
    row = world.parts.ledger.get(key)
    return None if row is None else row.verdict


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
