"""The public names of `datasync.client`: what each takes, gives and raises."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from datasync import client
from scripts.reference.markdown import block, code, heading, joined, names_as_code, table

FIRST = ("Client", "AsyncClient")


def python_client() -> str:
    """The two clients, what they give, functions, then the errors."""
    errors = [name for name in client.__all__ if _is_error(name)]
    others = [name for name in client.__all__ if name not in {*FIRST, *errors}]
    return joined(
        [
            _class("Client"),
            _twin(),
            heading(2, "What they give and take", "values"),
            *(_small(name) for name in others),
            heading(2, "Errors", "client-errors"),
            block("text", _drawing()),
            table(("Error", "Meaning"), [_error_row(name) for name in errors]),
        ]
    )


def _is_error(name: str) -> bool:
    found = getattr(client, name)
    return inspect.isclass(found) and issubclass(found, Exception)


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Its public methods and properties, in the order of the source."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            yield name, member


def _class(name: str) -> str:
    kind = getattr(client, name)
    parts = [heading(2, name, name.lower()), _signature(name, kind), _text(kind)]
    for method, member in methods(kind):
        parts.append(heading(3, method, f"{name.lower()}-{method}"))
        parts.append(_signature(method, member) if callable(member) else "A property.")
        parts.append(_text(member))
    return joined(parts)


def _twin() -> str:
    """The client for asyncio: only what differs from the other."""
    kind = client.AsyncClient
    own = [name for name, _ in methods(kind) if name not in vars(client.Client)]
    return joined(
        [
            heading(2, "AsyncClient", "asyncclient"),
            _signature("AsyncClient", kind),
            _text(kind),
            "The methods are those of [Client](#client), with `await`, or `async for` and "
            f"`async with` where they give many; its own are {', '.join(map(code, own))}.",
        ]
    )


def _small(name: str) -> str:
    found = getattr(client, name)
    return joined([heading(3, name, name.lower()), _signature(name, found), _text(found)])


def _signature(name: str, found: Any) -> str:
    """As it would be written, one parameter a line when they are many."""
    signature = str(inspect.signature(found))
    signature = re.sub(r"<class '([^']+)'>", r"\1", signature)
    signature = re.sub(r"\b(?:[a-z_0-9]+\.)+([A-Z]\w*)", r"\1", signature)
    signature = signature.replace("(self, ", "(").replace("(self)", "()")
    signature = signature.replace(" -> None", "") if inspect.isclass(found) else signature
    return block("python", _folded(name + signature))


def _folded(line: str) -> str:
    if len(line) <= 80:
        return line
    start, rest = line.split("(", 1)
    inner, end = rest.rsplit(")", 1)
    parts = re.split(r", (?![^\[]*\])", inner)
    return "\n".join([f"{start}(", *(f"    {part}," for part in parts), f"){end}"])


def _text(found: Any) -> str:
    """Its docstring; `Raises:` and names as code."""
    return names_as_code(re.sub(r"\bRaises: ", "**Raises:** ", inspect.getdoc(found) or ""))


def _drawing() -> str:
    module = inspect.getmodule(client.ClientError)
    text = (module.__doc__ or "").split("\n\n")[1]
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


def _error_row(name: str) -> list[str]:
    found = re.search(rf"^[ │├└─]*{name} {{2,}}(\S.*)$", _drawing(), re.MULTILINE)
    said = found[1] if found else ""
    own = vars(getattr(client, name)).get("__doc__") or ""
    text = ". ".join(filter(None, [said, " ".join(own.split()).rstrip(".")]))
    return [f'<span id="{name.lower()}"></span>{code(name)}', names_as_code(f"{text}.")]
