"""The bucket of compose.yaml, made on a real S3 server by the script that makes it there."""

from pathlib import Path

import pytest

from scripts import compose_setup
from tests.support.s3_server import S3Server

BUCKET = "compose-try"


@pytest.fixture(autouse=True)
def owner(seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the container that makes the bucket."""
    given = {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}
    for name, secret in given.items():
        path = tmp_path / name.lower()
        path.write_text(f"{secret}\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweed.endpoint_url)
    monkeypatch.setenv("S3_BUCKET_NAME", BUCKET)


def test_the_bucket_is_made_once_and_what_is_put_stays(seaweed: S3Server) -> None:
    compose_setup.main(["bucket"])
    key, text = compose_setup.FIRST_OBJECT
    assert _body(seaweed, key) == text.encode()
    compose_setup.main(["put", key, "Hello again"])
    compose_setup.main(["bucket"])
    assert _body(seaweed, key) == b"Hello again"


def test_anything_else_is_told_how_it_is_used() -> None:
    with pytest.raises(SystemExit, match="usage"):
        compose_setup.main(["put", "a key only"])


def _body(server: S3Server, key: str) -> bytes:
    return server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
