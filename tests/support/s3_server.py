"""What every S3 server of the tests offers, whichever program it is."""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_numbers = itertools.count(1)


@dataclass(frozen=True)
class S3Server:
    """Where a server listens and who may ask it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    pid: int

    def client(self) -> "S3Client":
        """A boto3 client for arranging tests; DataSync itself never uses it on objects."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                proxies={},
                retries={"max_attempts": 8, "mode": "standard"},
            ),
        )

    def make_bucket(self) -> str:
        """Make a fresh, empty bucket and return its name."""
        name = f"test-bucket-{next(_numbers)}"
        self.client().create_bucket(Bucket=name)
        return name
