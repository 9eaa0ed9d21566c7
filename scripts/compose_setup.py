"""What compose.yaml needs to be tried without any preparation: secrets, and a bucket.

Runs in the service's image. `secrets FOLDER` makes each secret once, by chance, in a file that
only its reader can read. `bucket` makes the bucket with a first object, `put KEY TEXT` puts
another; both take the server and the bucket's owner from the service's own variables.
"""

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The users in the images of compose.yaml.
ROOT, SEAWEED, GRAFANA, DATASYNC, PROMETHEUS = 0, 1000, 472, 10001, 65534
FIRST_OBJECT = "hello.txt", "Hello from the bucket.\n"
PATIENCE_SECONDS = 60.0  # the S3 server answers before it can store anything


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    match arguments:
        case ["secrets", folder]:
            make_secrets(Path(folder))
        case ["bucket"]:
            make_bucket()
        case ["put", key, text]:
            put(key, text)
        case _:
            sys.exit("usage: compose_setup.py secrets FOLDER | bucket | put KEY TEXT")


def make_secrets(folder: Path) -> None:
    """Make what is not there yet. All are made together, so that parts of one fit."""
    last = folder / "api_keys"
    if last.exists():
        print("the secrets are there already")
        return
    for name, owner, text in _secrets():
        _write(folder / name, owner, text)
    folder.chmod(0o755)
    print(f"made the secrets in {folder}")


def _secrets() -> Iterator[tuple[str, int, str]]:
    """Name, user and content of each file; the last one is there only when all are."""
    admin, scraper, owner, reader = (secrets.token_urlsafe(32) for _ in range(4))
    users = [_identity("owner", owner, "Admin"), _identity("reader", reader, "Read", "List")]
    yield "admin_key", ROOT, admin
    yield "prometheus_key", PROMETHEUS, scraper
    yield "grafana_password", GRAFANA, secrets.token_urlsafe(32)
    yield "owner_access_key", ROOT, "owner"
    yield "owner_secret_key", ROOT, owner
    yield "s3_access_key", DATASYNC, "reader"
    yield "s3_secret_key", DATASYNC, reader
    yield "s3.json", SEAWEED, json.dumps({"identities": users})
    # The service needs no more than the hashes.
    entries = _entry("admin", admin, "admin"), _entry("prometheus", scraper, "read")
    yield "api_keys", DATASYNC, "\n".join(entries)


def _identity(name: str, secret: str, *actions: str) -> dict[str, Any]:
    key = {"accessKey": name, "secretKey": secret}
    return {"name": name, "credentials": [key], "actions": list(actions)}


def _entry(name: str, secret: str, role: str) -> str:
    """As `datasync keys new` makes it."""
    return f"{name}:sha256-{hashlib.sha256(secret.encode()).hexdigest()}:{role}"


def _write(path: Path, owner: int, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        if os.geteuid() == 0:  # last: root without its capabilities could not write any more
            os.chown(descriptor, owner, owner)


def make_bucket() -> None:
    """Make the bucket, and put the first object into an empty one."""
    client, bucket = _client(), os.environ["S3_BUCKET_NAME"]
    found = {each["Name"] for each in client.list_buckets()["Buckets"]}
    if bucket not in found:
        client.create_bucket(Bucket=bucket)
    if client.list_objects_v2(Bucket=bucket, MaxKeys=1)["KeyCount"] == 0:
        put(*FIRST_OBJECT)
    print(f"the bucket {bucket} is ready")


def put(key: str, text: str) -> None:
    """Put an object, as soon as the server can store one."""
    from botocore.exceptions import ClientError

    client, deadline = _client(), time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            client.put_object(Bucket=os.environ["S3_BUCKET_NAME"], Key=key, Body=text.encode())
            break
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status < 500 or time.monotonic() > deadline:
                raise
            time.sleep(1)
    print(f"put {key}")


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        # By path: the server has one name, not one for each bucket.
        config=Config(s3={"addressing_style": "path"}, proxies={}),
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        region_name="us-east-1",
        aws_access_key_id=_text_of("AWS_ACCESS_KEY_ID_FILE"),
        aws_secret_access_key=_text_of("AWS_SECRET_ACCESS_KEY_FILE"),
    )


def _text_of(variable: str) -> str:
    return Path(os.environ[variable]).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    main(sys.argv[1:])
