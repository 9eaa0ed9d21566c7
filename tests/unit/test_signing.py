"""Our signatures against botocore's, over thousands of generated requests."""

import datetime
from urllib.parse import unquote_to_bytes
from unittest.mock import patch

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasync.services.storage.s3.signing import (
    Credentials,
    encode_path,
    encode_query,
    frame,
    scope_for,
    sign,
    stamp_of,
)

NASTY = st.sampled_from(
    ["a b", "a+b", "%", "%2B", "%25", "//", "..", "./x", "a/../b", "~", "*", "'", "()", "!", "\\"]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.lists(st.one_of(NASTY, TEXT), min_size=1, max_size=5).map("".join).filter(bool)
HOSTS = st.sampled_from(["bucket.s3.us-east-1.amazonaws.com", "127.0.0.1:9000", "[::1]:8333"])
NAMES = st.sampled_from(
    ["prefix", "start-after", "continuation-token", "list-type", "max-keys", "attributes"]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "range": st.integers(0, 10**12).map(lambda first: f"bytes={first}-"),
        "x-amz-checksum-mode": st.just("ENABLED"),
        "x-amz-optional-object-attributes": st.just("RestoreStatus"),
        "if-match": st.text("0123456789abcdef-", min_size=1).map(lambda etag: f'"{etag}"'),
        "if-none-match": st.text("0123456789abcdef-", min_size=1).map(lambda etag: f'"{etag}"'),
    },
)
TOKENS = st.none() | st.text("abc/+=", min_size=1, max_size=40)
SECONDS = st.integers(1_500_000_000, 4_000_000_000)


def botocore_lines(
    credentials: Credentials, second: int, method: str, url: str, headers: dict[str, str]
) -> dict[str, str]:
    """The headers botocore sends for the same request at the same time."""
    now = datetime.datetime.fromtimestamp(second, datetime.UTC)
    keys = BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token)
    request = AWSRequest(method=method, url=url, headers=headers)
    with patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        S3SigV4Auth(keys, "s3", "eu-west-3").add_auth(request)
    return {name.lower(): text for name, text in request.headers.items()}


@pytest.mark.no_cover
@settings(max_examples=2000, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    key=KEYS,
    parameters=st.dictionaries(NAMES, TEXT, max_size=4),
    headers=HEADERS,
    token=TOKENS,
    second=SECONDS,
)
@example("GET", "http", "127.0.0.1:9000", "a//b/../c d+e%2B", {}, {}, None, 1_700_000_000)
def test_signs_as_botocore_does(
    method: str,
    scheme: str,
    host: str,
    key: str,
    parameters: dict[str, str],
    headers: dict[str, str],
    token: str | None,
    second: int,
) -> None:
    credentials = Credentials("AKIDEXAMPLE", "secret/with+signs", token)
    path, query = f"/{encode_path(key)}", encode_query(parameters)
    url = f"{scheme}://{host}{path}" + (f"?{query}" if query else "")
    stamp = stamp_of(second)
    scope = scope_for(credentials, stamp[:8], "eu-west-3")

    lines = sign(frame(scope, stamp, host, headers), method, path, query)

    ours = {line.partition(":")[0].lower(): line.partition(":")[2] for line in lines}
    assert ours == botocore_lines(credentials, second, method, url, headers)


@given(KEYS)
def test_an_encoded_key_is_plain_ascii_and_decodes_to_the_key(key: str) -> None:
    path = encode_path(key)

    assert unquote_to_bytes(path) == key.encode()
    assert not set(path) - set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%"
    )


def test_credentials_show_no_secret() -> None:
    credentials = Credentials("AKIDEXAMPLE", "hush-secret", "hush-token")
    scope = scope_for(credentials, "20261123", "us-east-1")

    assert "hush" not in repr(credentials) + repr(scope)
    assert repr(scope.key) not in repr(scope)
