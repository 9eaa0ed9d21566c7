"""The whole listing of a bucket: page after page until S3 says that it is complete.

Complete or an error, nothing between. Must not know: what the listing is for.
"""

import time
from collections.abc import Iterator

from datasync.errors import BucketError, ListingBroken, ObjectMissing, UnexpectedAnswer
from datasync.models.sync_models import ListingPage
from datasync.services.storage.s3.client import RawAnswer, S3Client
from datasync.services.storage.s3.pages import Page, parse_page

MAX_PAGE_BYTES = 16 * 1024 * 1024
PAGE_KEYS = 1000
MAX_EMPTY_PAGES = 1000
RESTORE_STATUS = {"x-amz-optional-object-attributes": "RestoreStatus"}


class Listing:
    """Lists one bucket. Remembers when the server refuses to tell the restore status."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._extras = RESTORE_STATUS

    def pages(self, prefix: str, start_after: str) -> Iterator[ListingPage]:
        """See `Bucket.list`."""
        parameters = {"prefix": prefix, "start-after": start_after}
        seen: set[int] = set()
        empty_pages = 0
        while True:
            page = self._page(parameters, prefix)
            empty_pages = 0 if page.objects else empty_pages + 1
            if page.token is not None and (
                hash(page.token) in seen or empty_pages > MAX_EMPTY_PAGES
            ):
                raise ListingBroken("the listing goes in circles")
            yield ListingPage(page.objects, last=page.token is None)
            if page.token is None:
                return
            seen.add(hash(page.token))
            parameters = {"prefix": prefix, "continuation-token": page.token}

    def _page(self, parameters: dict[str, str], prefix: str) -> Page:
        answer = self._ask(parameters, self._extras)
        if answer.status in (400, 501) and self._extras and self._is_puzzled(answer):
            answer = self._ask(parameters, {})
            if answer.status == 200:
                self._extras = {}
        if answer.status != 200:
            raise _refusal(self._client, answer)
        return parse_page(answer.body, self._client.config.bucket, prefix)

    def _is_puzzled(self, answer: RawAnswer) -> bool:
        """Whether the refusal may be about the header, not about who asks or where."""
        return isinstance(_refusal(self._client, answer), UnexpectedAnswer)

    def _ask(self, parameters: dict[str, str], headers: dict[str, str]) -> RawAnswer:
        return _ask(self._client, {**parameters, "max-keys": str(PAGE_KEYS)}, headers, None)


def check_listing(client: S3Client, timeout_seconds: float) -> None:
    """See `Bucket.check`: lists one key, which is what a reconciliation starts with."""
    prefix = client.config.prefix
    answer = _ask(client, {"prefix": prefix, "max-keys": "1"}, {}, timeout_seconds)
    if answer.status != 200:
        raise _refusal(client, answer)
    parse_page(answer.body, client.config.bucket, prefix)


def _ask(
    client: S3Client,
    parameters: dict[str, str],
    headers: dict[str, str],
    timeout_seconds: float | None,
) -> RawAnswer:
    given = {name: text for name, text in parameters.items() if text}
    query = {"list-type": "2", "encoding-type": "url", **given}
    begun = time.monotonic()
    call = client.bucket_call(None, query, headers, timeout_seconds)
    if timeout_seconds is not None:  # credentials that were waited for had their share of it
        timeout_seconds = max(0.1, round(timeout_seconds - (time.monotonic() - begun), 1))
    return client.ask(
        call, _name(client), max_bytes=MAX_PAGE_BYTES, timeout_seconds=timeout_seconds
    )


def _refusal(client: S3Client, answer: RawAnswer) -> BucketError:
    """The error of a refused listing: it can never say that an object is missing."""
    error = client.refuse(answer.status, answer.fields, answer.body, _name(client))
    return UnexpectedAnswer(str(error)) if isinstance(error, ObjectMissing) else error


def _name(client: S3Client) -> str:
    return f"listing {client.config.bucket!r}"
