"""Where the commands of a page are run: a fresh folder, and what its scene puts beside it.

`bucket`   a real S3 server with the bucket my-bucket, and a `.env` that names it
`service`  the same, and a service over it that is in sync
`files`    a folder with what a checkout ships: deploy/, lambda/, compose.yaml and the like
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.checkout import copied
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.servers import free_ports
from tests.support.world import eventually

BUCKET = "my-bucket"
PORT = 8888  # of the documents
OBJECTS = {
    "notes.txt": b"Ask for the reports on Monday.\n",
    "reports/2026/01.csv": b"day,amount\n1,17\n2,23\n",
    "reports/2026/02.csv": b"day,amount\n1,19\n2,21\n",
    "models/a.bin": bytes(range(256)) * 400,
}
# A reader sees that an answer is an error; here, curl has to say so itself.
CURL = "fail\nsilent\nshow-error\n"
SHIPPED = (
    *("deploy", "lambda", "scripts", "docs"),
    *("compose.yaml", "Dockerfile", "Makefile", ".env.example", "gunicorn.conf.py", "server.py"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where commands are run, with what in the environment, and on which port a service is."""

    folder: Path
    environment: dict[str, str]
    port: int


@contextmanager
def scene(kind: str, server: S3Server | None, parent: Path) -> Iterator[Scene]:
    """Set up in two new folders of `parent` and, at the end, taken down."""
    folder, home = parent / "work", parent / "home"
    folder.mkdir()
    home.mkdir()
    (home / ".curlrc").write_text(CURL)
    with ExitStack() as stack:
        port = free_ports(1)[0]
        if kind == "files":
            copied(SHIPPED, folder)
        else:
            assert server is not None
            stack.enter_context(_bucket(server))
            _write_settings(server, folder, port)
        if kind == "service":
            stack.enter_context(_service(server, folder, port))
        yield Scene(folder, _environment(home), port)


def _environment(home: Path) -> dict[str, str]:
    """No setting and no key of the tests' own surroundings."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": programs, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}


@contextmanager
def _bucket(server: S3Server) -> Iterator[None]:
    """my-bucket, as every page finds it; the server is the session's, so it goes at the end."""
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    try:
        for key, body in OBJECTS.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=body)
        yield
    finally:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=entry["Key"])
        client.delete_bucket(Bucket=BUCKET)


def _settings(server: S3Server, port: int) -> dict[str, str]:
    return {
        "S3_BUCKET_NAME": BUCKET,
        "AWS_REGION": server.region,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_ENDPOINT_URL_S3": server.endpoint_url,
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
    }


def _write_settings(server: S3Server, folder: Path, port: int) -> None:
    lines = [f"{name}={value}\n" for name, value in _settings(server, port).items()]
    (folder / ".env").write_text("".join(lines))


@contextmanager
def _service(server: S3Server | None, folder: Path, port: int) -> Iterator[None]:
    assert server is not None
    places = {"LOCAL_DOWNLOAD_DIR": "downloaded_files", "LOG_FILE": "s3_notifications.log"}
    with ServiceProcess(server, BUCKET, folder, API_PORT=str(port), **places) as service:
        service.wait_until_up()
        eventually(service.caught_up, 30)
        yield
        service.terminate()
