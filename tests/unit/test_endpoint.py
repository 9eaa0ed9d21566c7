"""Where a bucket is: AWS partitions, addressing styles, endpoints of other servers."""

import pytest

from datasync.errors import ConfigurationError
from datasync.services.storage.s3.endpoint import Location, S3Config, locate


@pytest.mark.parametrize(
    ("bucket", "region", "host", "base"),
    [
        ("team", "us-east-1", "team.s3.us-east-1.amazonaws.com", ""),
        ("team", "eu-west-3", "team.s3.eu-west-3.amazonaws.com", ""),
        ("team", "cn-north-1", "team.s3.cn-north-1.amazonaws.com.cn", ""),
        ("team", "us-gov-west-1", "team.s3.us-gov-west-1.amazonaws.com", ""),
        ("team", "eusc-de-east-1", "team.s3.eusc-de-east-1.amazonaws.eu", ""),
        ("team", "us-iso-east-1", "team.s3.us-iso-east-1.c2s.ic.gov", ""),
        ("team", "xx-new-9", "team.s3.xx-new-9.amazonaws.com", ""),
        ("team.data", "us-east-1", "s3.us-east-1.amazonaws.com", "/team.data"),
        ("Team_Data", "us-east-1", "s3.us-east-1.amazonaws.com", "/Team_Data"),
    ],
)
def test_aws(bucket: str, region: str, host: str, base: str) -> None:
    assert locate(S3Config(bucket, region)) == Location("https", host, base)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9000", Location("http", "127.0.0.1:9000", "/team")),
        ("http://minio:9000/", Location("http", "minio:9000", "/team")),
        ("https://S3.Example.com", Location("https", "s3.example.com", "/team")),
        ("https://s3.example.com:443", Location("https", "s3.example.com", "/team")),
        ("http://s3.example.com:80", Location("http", "s3.example.com", "/team")),
        ("http://[::1]:8333", Location("http", "[::1]:8333", "/team")),
        (
            "https://gate.example.com/storage/",
            Location("https", "gate.example.com", "/storage/team"),
        ),
    ],
)
def test_other_servers_are_addressed_path_style(url: str, expected: Location) -> None:
    assert locate(S3Config("team", endpoint_url=url)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9000",
        "ftp://host",
        "http://",
        "http://key:hush@host",
        "http://host?x=1",
        "http://host#x",
        "http://host:port",
        "http://host:70000",
        "http://[::1",
        "http://key:hush@[::1",
        "",
    ],
)
def test_a_bad_endpoint_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        locate(S3Config("team", endpoint_url=url))

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("bucket", "region"),
    [("", "us-east-1"), ("a/b", "us-east-1"), ("-x", "us-east-1"), ("team", ""), ("team", "a.b/c")],
)
def test_names_that_cannot_be_part_of_a_host(bucket: str, region: str) -> None:
    with pytest.raises(ConfigurationError):
        locate(S3Config(bucket, region))
