"""Every command with its arguments, options and example, and the exit codes."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from typer.core import TyperGroup
from typer.main import get_command

from datasync.cli import exits
from datasync.cli.entry import ANYWHERE, app
from datasync.cli.examples import EXAMPLES
from scripts.reference.markdown import (
    anchor,
    block,
    code,
    heading,
    joined,
    names_as_code,
    table,
)

_WITH_URL = "Asks a service elsewhere with `--url`.\n{ .facts }"
HEAD = ("Option", "Takes", "Default", "Meaning")
ELSEWHERE = frozenset(command.__name__ for command in ANYWHERE)


def command_line() -> str:
    """The options of all commands, then each command."""
    root = get_command(app)
    general = joined([heading(2, "For every command", "every-command"), _options(root)])
    return joined([general, *(_command(name, found) for name, found in commands())])


def exit_codes() -> str:
    rows = [(code(number), names_as_code(text)) for number, text in exits.MEANINGS.items()]
    return table(("Code", "Meaning"), rows)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, as `trash list`; a group before what is in it."""
    yield from _below(get_command(app), "")


def _below(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, found in group.commands.items():
        yield path + name, found
        if isinstance(found, TyperGroup):
            yield from _below(found, f"{path}{name} ")


def _command(name: str, found: Any) -> str:
    example = EXAMPLES.get(name)
    return joined(
        [
            heading(3 if " " in name else 2, f"datasync {name}", anchor(name)),
            names_as_code(_text(found.help or "")),
            block("text", usage(name, found)),
            _WITH_URL if name in ELSEWHERE else "",
            _options(found),
            f"Example:\n\n{block('bash', example)}" if example else "",
        ]
    )


def _text(help_text: str) -> str:
    """Help as paragraphs; a terminal's marks of paragraphs are no text."""
    parts = help_text.replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def usage(name: str, found: Any) -> str:
    """The first line of its help."""
    words = ["datasync", name]
    words += ["[OPTIONS]"] if any(_is_option(each) for each in found.params) else []
    words += [_argument(each) for each in found.params if not _is_option(each)]
    words += ["COMMAND [ARGS]..."] if isinstance(found, TyperGroup) else []
    return " ".join(words)


def _argument(parameter: Any) -> str:
    shown = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return shown if parameter.required else f"[{shown}]"


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _options(found: Any) -> str:
    """A table; columns that say nothing for any of them are left out."""
    rows = [_row(each) for each in found.params if not getattr(each, "hidden", False)]
    shown = [at for at, _ in enumerate(HEAD) if any(row[at] for row in rows)]
    chosen = [[row[at] for at in shown] for row in rows]
    return table([HEAD[at] for at in shown], chosen) if rows else ""


def _row(parameter: Any) -> list[str]:
    if _is_option(parameter):
        shown = ", ".join(map(code, sorted([*parameter.opts, *parameter.secondary_opts], key=len)))
    else:
        shown = code(_argument(parameter))
    help_text = names_as_code(parameter.help or "")
    if parameter.envvar:
        help_text += f" Also from {code(parameter.envvar)}."
    return [shown, _takes(parameter), _default(parameter), help_text]


def _takes(parameter: Any) -> str:
    """What stands behind an option, or is an argument; nothing for a flag."""
    if getattr(parameter, "is_flag", False):
        return ""
    kind = _kind(parameter.type_descriptor.annotation)
    if isinstance(kind, type) and issubclass(kind, Enum):
        shown = " or ".join(code(choice.value) for choice in kind)
    else:
        shown = {int: "whole number", float: "number", Path: "path"}.get(kind, "text")
    low, high = (getattr(parameter, side, None) for side in ("min", "max"))
    shown += f", at least {low:,}" if low is not None else ""
    shown += f", at most {high:,}" if high is not None else ""
    return f"{shown}; can be repeated" if parameter.multiple else shown


def _kind(annotation: Any) -> Any:
    """The type of one value: without the list around it, and without None beside it."""
    inner = [each for each in get_args(annotation) if each is not NoneType]
    return _kind(inner[0]) if inner else annotation


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False) or default in (None, "", (), []) or callable(default):
        return ""
    return code(getattr(default, "value", default))
