"""The local AWS of the demo: MiniStack as a child process, and what is deployed on it.

Knows boto3 and MiniStack, not the service and not the screen.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

import datasync
from datasync.demo.ports import free_port
from datasync.demo.samples import PART_BYTES, Sample, samples
from datasync.errors import ConfigurationError
from datasync.forwarder import handler_file, zipped

BUCKET = "datasync-demo"
FUNCTION = "datasync-forwarder"
REGION = "us-east-1"
KEY = "test"  # MiniStack's own; it is reachable from this machine only
START_SECONDS = 60.0
STOP_SECONDS = 8.0
NAP_SECONDS = 0.05
_RUN = "Run the demo from a checkout of the project: make run"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Cloud:
    """A running local AWS. `endpoint` is its URL."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str) -> Any:
        """A boto3 client of it."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # the name of the service is not a literal here
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, proxies={}, read_timeout=30),
        )

    def fill(self) -> int:
        """Make the bucket with its samples; returns how many objects it holds."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        count = 0
        for sample in samples():
            _put_parts(s3, sample) if sample.parts else _put(s3, sample)
            count += 1
        return count

    def deploy(self, api_endpoint: str, api_key: str) -> None:
        """Put the forwarder behind the bucket's notifications."""
        functions = self.client("lambda")
        variables = {"API_ENDPOINT": api_endpoint, **({"API_KEY": api_key} if api_key else {})}
        made = functions.create_function(
            FunctionName=FUNCTION,
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/datasync-forwarder",
            Handler="s3_lambda_handler.lambda_handler",
            Code={"ZipFile": zipped(handler_file())},
            Timeout=35,
            Environment={"Variables": variables},
        )
        functions.add_permission(
            FunctionName=FUNCTION,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{BUCKET}",
        )
        self._notify(made["FunctionArn"])

    def _notify(self, function_arn: str) -> None:
        target = {
            "LambdaFunctionArn": function_arn,
            "Events": [
                "s3:ObjectCreated:*",
                "s3:ObjectRemoved:*",
                "s3:ObjectRestore:Completed",
                "s3:LifecycleExpiration:*",
            ],
        }
        self.client("s3").put_bucket_notification_configuration(
            Bucket=BUCKET,
            NotificationConfiguration={"LambdaFunctionConfigurations": [target]},
        )

    def warm(self) -> None:
        """Send a test event through the function, so that the first real one is fast.

        Raises: ConfigurationError with the function's own words when it does not arrive.
        """
        event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}
        answer = self.client("lambda").invoke(
            FunctionName=FUNCTION, Payload=json.dumps(event).encode()
        )
        if answer.get("FunctionError"):
            said = answer["Payload"].read(2000).decode("utf-8", "replace")
            raise ConfigurationError(f"the Lambda function does not reach the service: {said}")


def _put(s3: Any, sample: Sample) -> None:
    s3.put_object(Bucket=BUCKET, Key=sample.key, Body=sample.body, ContentType=sample.content_type)


def _put_parts(s3: Any, sample: Sample) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=sample.key)["UploadId"]
    parts = []
    for number, first in enumerate(range(0, len(sample.body), PART_BYTES), start=1):
        body = sample.body[first : first + PART_BYTES]
        part = s3.upload_part(
            Bucket=BUCKET, Key=sample.key, UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(
        Bucket=BUCKET, Key=sample.key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


@contextmanager
def running_cloud() -> Iterator[Cloud]:
    """Start MiniStack, wait until it answers, stop it and remove its files at the end.

    Raises: ConfigurationError when it does not start, with the end of what it said.
    """
    if find_spec("ministack") is None:
        raise ConfigurationError("the demo needs MiniStack, which is not installed here", hint=_RUN)
    folder = Path(tempfile.mkdtemp(prefix="datasync-demo-"))
    port = free_port()
    process = _start(folder, port)
    try:
        cloud = Cloud(f"http://127.0.0.1:{port}")
        _wait(process, cloud, folder)
        yield cloud
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    package = Path(datasync.__file__).resolve().parents[1]
    environment = {
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",  # or it listens on every interface, whatever BIND_HOST says
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "LOG_LEVEL": "WARNING",
        "DOCKER_HOST": f"unix://{folder}/none.sock",  # functions run as plain processes
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "PYTHONPATH": str(package),
    }
    command = [sys.executable, "-m", "datasync.demo.child", str(os.getpid()), str(folder)]
    with open(folder / "ministack.log", "wb") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _wait(process: subprocess.Popen[bytes], cloud: Cloud, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(cloud.endpoint):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigurationError(f"MiniStack did not start: {_last_words(folder)}")
        time.sleep(NAP_SECONDS)


def _last_words(folder: Path) -> str:
    with suppress(OSError):
        return (folder / "ministack.log").read_text(errors="replace").strip()[-500:]
    return "it said nothing"


def _healthy(endpoint: str) -> bool:
    try:
        with _DIRECT.open(f"{endpoint}/_ministack/health", timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
