"""Says in commands what hints say in routes: the same errors are read on a terminal here.

Pure. Knows the texts of the error tree and of the ledger, and no error itself.
"""

import re

_COMMANDS = (
    (r" or POST /sync/runs/\d+/(?:approve|cancel)", ""),  # such a hint names the command already
    (r"Correct the request; /docs shows what this route takes\.", "Add --help to see its use."),
    (r"See /docs for what this route takes\.", "Add --help to see what the command takes."),
    (r"\bGET /sync/files\b", "datasync files"),
    (r"\bGET /sync/runs\b", "datasync runs"),
    (r"\bPOST /sync/trigger\b", "datasync sync"),
    (r"(?<!\w)/sync/failures\b", "datasync failures"),
)


def in_commands(text: str) -> str:
    """The text with the command in place of each route that it names."""
    for route, command in _COMMANDS:
        text = re.sub(route, command, text)
    return text
