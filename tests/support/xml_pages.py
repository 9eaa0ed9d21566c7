"""Pages of ListObjectsV2 as S3 writes them, and all the ways to spoil one."""

DATE = "2026-11-23T08:27:26.000Z"
NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str, **fields: str) -> str:
    """One `<Contents>`; a field of "-" is left out, others are added or replaced."""
    given = {
        "Key": key,
        "LastModified": DATE,
        "ETag": "&quot;e1&quot;",
        "Size": "3",
        "StorageClass": "STANDARD",
        **fields,
    }
    return f"<Contents>{_elements(given)}</Contents>"


def page(*entries: str, bucket: str = "bucket", namespace: str = NAMESPACE, **fields: str) -> bytes:
    """One page of these entries; a field of "-" is left out."""
    given = {
        "Name": bucket,
        "Prefix": "",
        "KeyCount": str(len(entries)),
        "MaxKeys": "1000",
        "EncodingType": "url",
        "IsTruncated": "false",
        **fields,
    }
    start = f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{namespace}>'
    text = f"{start}{_elements(given)}{''.join(entries)}</ListBucketResult>"
    return text.encode()


def truncated(*entries: str, token: str, **fields: str) -> bytes:
    """A page that is not the last one."""
    return page(*entries, IsTruncated="true", NextContinuationToken=token, **fields)


def _elements(fields: dict[str, str]) -> str:
    return "".join([f"<{name}>{text}</{name}>" for name, text in fields.items() if text != "-"])
