"""Runs the commands of a page, in one bash session, as a reader would type them one by one."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator

from tests.docs.pages import Block, Page
from tests.docs.scenes import PORT, Scene

SECONDS = 150
START = """set -Eeuo pipefail
trap 'code=$?; echo "$AT: ended with $code at: $BASH_COMMAND" >&2' ERR
"""
EXPECTED = """ended=0
{text} || ended=$?
[ "$ended" -eq {code} ] || {{ echo "$AT: ended with $ended and not with {code}" >&2; exit 1; }}
"""
# Whoever leaves before the end, or has the rest taken for a text of its own, is found out.
WHOLE = 97

_TRAPPED = re.compile(r"^\S+:\d+: ended with ", re.MULTILINE)


def script(page: Page, port: int) -> str:
    """The commands of all blocks that are run, with the scene's port for that of the page."""
    text = START + "".join(_lines(page)) + f"exit {WHOLE}\n"
    for host in ("localhost", "127.0.0.1"):
        text = text.replace(f"{host}:{PORT}", f"{host}:{port}")
    return text


def _lines(page: Page) -> Iterator[str]:
    for block in page.commands:
        yield f"AT='{page.name}:{block.line}'\n"
        yield _expected(block) if block.code else block.text


def _expected(block: Block) -> str:
    return EXPECTED.format(text=block.text.rstrip(), code=block.code)


def run(page: Page, scene: Scene) -> str:
    """What it printed. Raises: AssertionError with that, when a command did not end as it should.

    Whatever the page started in the background ends with it.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would be kept open by what is left running
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", script(page, scene.port)],
            cwd=scene.folder,
            env=scene.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        output.seek(0)
        printed = output.read().decode(errors="replace")
    assert code is not None, f"{page.name} did not end in {SECONDS} seconds:\n{printed[-4000:]}"
    # The trap also tells of what fails within a command that does well all the same.
    fine = code == WHOLE and not _TRAPPED.search(printed)
    assert fine, f"{page.name} failed, with {code}:\n{printed[-4000:]}"
    return printed


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing of it is left
    process.wait()
