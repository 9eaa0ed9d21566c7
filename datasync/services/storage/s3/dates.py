"""Dates as S3 writes them, in headers and in documents, as seconds since the epoch. Pure.

What is no date is a `ValueError`: whoever reads an answer knows which error of ours that is.
"""

import re
from calendar import timegm
from datetime import date
from email.utils import parsedate_tz
from functools import lru_cache

_YEAR = r"(19[7-9]\d|[2-9]\d{3})"
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d):([0-6]\d)"
_ISO = re.compile(rf"{_YEAR}-(\d\d)-(\d\d)T{_CLOCK}(?:\.\d{{1,9}})?Z", re.ASCII)
_HTTP = re.compile(rf"[A-Z][a-z]{{2}}, (\d\d) ([A-Z][a-z]{{2}}) {_YEAR} {_CLOCK} GMT", re.ASCII)
_NAMES = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_MONTHS = {name: str(number) for number, name in enumerate(_NAMES.split(), 1)}


def from_iso(text: str) -> int:
    """A date such as `2026-11-23T08:27:26.000Z`, since 1970; parts of a second are cut off.

    Raises: ValueError.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = found.groups()
    return _midnight(year, month, day) + int(hour) * 3600 + int(minute) * 60 + int(second)


def from_http(text: str) -> int:
    """A date such as `Mon, 23 Nov 2026 08:27:26 GMT`, or in another form that HTTP allows.

    Raises: ValueError.
    """
    found = _HTTP.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return _any_date(text)
    day, month, year, hour, minute, second = found.groups()
    midnight = _midnight(year, _MONTHS[month], day)
    return midnight + int(hour) * 3600 + int(minute) * 60 + int(second)


@lru_cache(maxsize=512)
def _midnight(year: str, month: str, day: str) -> int:
    return timegm(date(int(year), int(month), int(day)).timetuple())


def _any_date(text: str) -> int:
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            raise ValueError(text)
        return timegm(parsed[:9]) - (parsed[9] or 0)
    except (TypeError, OverflowError):
        raise ValueError(text) from None
