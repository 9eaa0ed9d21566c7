"""Words for bad settings, and for variables that look like ours but are not.

Pure: gets names and values as arguments, never reads the environment itself.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from datasync.errors import DataSyncError
from datasync.utils.logger import escape_key

# What people write from habit, and the variable they mean.
HABITS = {
    "API_KEY": "API_KEYS",
    "AWS_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "AWS_BUCKET": "S3_BUCKET_NAME",
    "AWS_BUCKET_NAME": "S3_BUCKET_NAME",
    "AWS_DEFAULT_REGION": "AWS_REGION",
    "AWS_S3_BUCKET": "S3_BUCKET_NAME",
    "AWS_S3_BUCKET_NAME": "S3_BUCKET_NAME",
    "AWS_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN": "AWS_SESSION_TOKEN",
    "BUCKET_NAME": "S3_BUCKET_NAME",
    "DOWNLOAD_DIR": "LOCAL_DOWNLOAD_DIR",
    "DOWNLOAD_TIMEOUT": "DOWNLOAD_TIMEOUT_SECONDS",
    "MAX_FILE_SIZE": "MAX_FILE_SIZE_MB",
    "S3_BUCKET": "S3_BUCKET_NAME",
    "S3_ENDPOINT_URL": "AWS_ENDPOINT_URL_S3",
    "SYNC_INTERVAL": "SYNC_INTERVAL_HOURS",
}
# Real variables of others that only look like ours.
OTHERS = frozenset({"AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SSO"})
ALIKE = 0.85
ALIKE_OTEL = 0.95  # OpenTelemetry has many of its own that differ from these by a word

_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
    "literal_error": ("expected", "must be"),
}
_KINDS = {
    "missing": "is required",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is far too large",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "string_unicode": "must be UTF-8 text",
}


def told(error: DataSyncError) -> str:
    """An error that keeps something from starting, as it is said on every terminal.

    One line for each bad setting, `datasync: NAME ...`; what can be done follows on the line.
    """
    *others, last = str(error).splitlines() or [""]
    last = f"{last.rstrip('.')}. {error.hint}" if error.hint else last
    return "\n".join(f"datasync: {_on_one_line(line)}" for line in (*others, last))


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else escape_key(text)


def describe(name: str, problem: ErrorDetails, example: object, *, hide: bool) -> str:
    """One line: the variable, what is wrong with its value, an example. `hide`: not the value."""
    variable = name.upper()
    example_text = f"Example: {variable}={example}"
    if problem["type"] == "whole_line":
        return f"{problem['msg']}. {example_text}"
    if problem["type"] == "value_error":
        return f"{variable} {problem['ctx']['error']}. {example_text}"
    value = "" if hide else _value(problem)
    return f"{variable} {_problem(name, problem)}{value}. {example_text}"


def _problem(name: str, problem: ErrorDetails) -> str:
    if name == "sync_concurrency":
        return "must be auto or a whole number from 1 to 256"
    kind = problem["type"]
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = problem["ctx"][bound]
        return f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
    return _KINDS.get(kind, "is not valid")


def _value(problem: ErrorDetails) -> str:
    value = problem["input"]
    if problem["type"] == "missing" or not isinstance(value, str | int | float):
        return ""
    shown = ascii(value) if isinstance(value, str) else str(value)
    return f", not {shown if len(shown) <= 80 else shown[:77] + '...'}"


def near_misses(variables: Iterable[str], known: Mapping[str, object]) -> list[tuple[str, str]]:
    """Pairs (variable that is not ours, the one probably meant), unless the meant one is given."""
    ours = [name.upper() for name in known]
    given = {name.upper() for name in variables}
    found = []
    for name in sorted(given - set(ours) - OTHERS):
        alike = ALIKE_OTEL if name.startswith("OTEL_") else ALIKE
        close = get_close_matches(name, ours, n=1, cutoff=alike)
        meant = HABITS.get(name) or (close[0] if close else None)
        if meant and meant not in given:
            found.append((name, meant))
    return found
