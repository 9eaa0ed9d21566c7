"""What runs the commands of documents finds them all, and notices when one fails."""

from pathlib import Path

import pytest

from tests.docs import pages, shell
from tests.docs.scenes import Scene
from tests.support.world import eventually

FENCE = "```"


def _page(*lines: str) -> pages.Page:
    return pages.parse("page.md", "\n".join(lines))


def _run(folder: Path, *lines: str) -> str:
    scene = Scene(folder, {"PATH": "/usr/bin:/bin"}, 4321)
    return shell.run(_page(*lines), scene)


def test_commands_that_nobody_runs_are_named_with_their_line() -> None:
    page = _page("# Title", "", f"{FENCE}bash", "ls", FENCE)
    [fault] = page.faults()
    assert fault.startswith("page.md:3: these commands are not run by any test")


def test_a_scene_or_a_reason_is_enough() -> None:
    block = (f"{FENCE}bash", "ls", FENCE)
    assert not [*_page("<!-- scene: files -->", "# Title", *block).faults()]
    marked = _page("<!-- not run: it needs root -->", *block)
    assert not [*marked.faults()]
    assert [each.reason for each in marked.blocks] == ["it needs root"]
    assert marked.commands == ()


@pytest.mark.parametrize("mark", ["<!-- not run: -->", "<!-- not run -->", "not run: root", ""])
def test_a_mark_without_a_reason_is_none(mark: str) -> None:
    assert [*_page(mark, f"{FENCE}bash", "ls", FENCE).faults()]


def test_a_scene_that_does_not_exist_is_told() -> None:
    [fault] = _page("<!-- scene: cloud -->", f"{FENCE}bash", "ls", FENCE).faults()
    assert "no scene 'cloud'" in fault


def test_blocks_in_lists_count_and_other_languages_do_not() -> None:
    page = _page(
        *(f"{FENCE}text", f"{FENCE}bash", FENCE),  # a fence that is shown, not opened
        *("1. Look", "", f"   {FENCE}bash", "   if true; then", "     ls", "   fi", f"   {FENCE}"),
    )
    assert [(block.line, block.text) for block in page.blocks] == [(6, "if true; then\n  ls\nfi\n")]


@pytest.mark.parametrize(
    "lines",
    [
        (f"{FENCE}sh", "ls", FENCE),
        (f"{FENCE} console", "ls", FENCE),
        (f"{FENCE}Bash", "ls", FENCE),
        (f'{FENCE}bash title="x"', "ls", FENCE),
        ("~~~bash here", "ls", "~~~"),
        (f"> {FENCE}bash", "> ls", f"> {FENCE}"),
        (f"{FENCE}bash", "ls"),
        ("<!-- exits: 2 -->", f"{FENCE}bash", "false", "(exit 2)", FENCE),
    ],
)
def test_commands_that_would_be_overlooked_are_told(lines: tuple[str, ...]) -> None:
    assert [*_page("<!-- scene: files -->", *lines).faults()]


def test_an_odd_fence_swallows_no_other_block() -> None:
    block = (f"{FENCE}bash", "ls", FENCE)
    page = _page(f'{FENCE}text title="x"', "shown", FENCE, *block, "~~~bash", "pwd", "~~~~")
    assert [each.text for each in page.blocks] == ["ls\n", "pwd\n"]


def test_all_blocks_are_one_session(tmp_path: Path) -> None:
    first, second = (f"{FENCE}bash", "name=DataSync", FENCE), (f"{FENCE}bash", "echo $name", FENCE)
    assert _run(tmp_path, *first, *second) == "DataSync\n"


def test_the_port_is_that_of_the_scene(tmp_path: Path) -> None:
    commands = (f"{FENCE}bash", "echo localhost:8888 127.0.0.1:8888/x 8888", FENCE)
    assert _run(tmp_path, *commands) == "localhost:4321 127.0.0.1:4321/x 8888\n"


FAILING = [
    *("false", "false | cat", "echo $nothing", "x=$(false)", "export x=$(false)"),
    *("echo $(false)", "cat <(false)", "exit 0", "exec true", "cat <<END", "set +e\nfalse"),
]


@pytest.mark.parametrize("command", FAILING)
def test_a_command_that_fails_is_told_with_its_page_and_line(tmp_path: Path, command: str) -> None:
    with pytest.raises(AssertionError, match="page.md failed"):
        _run(tmp_path, f"{FENCE}bash", *command.splitlines(), "echo done", FENCE)


def test_the_line_of_the_failing_block_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="page.md:4: ended with 1 at: false"):
        _run(tmp_path, f"{FENCE}bash", "true", FENCE, f"{FENCE}bash", "false", FENCE)


def test_an_exit_code_can_be_expected(tmp_path: Path) -> None:
    block = (f"{FENCE}bash", "(exit 3)", FENCE)
    after = (f"{FENCE}bash", "echo after", FENCE)
    assert _run(tmp_path, "<!-- exits: 3 -->", *block, *after) == "after\n"
    with pytest.raises(AssertionError, match="ended with 3 and not with 2"):
        _run(tmp_path, "<!-- exits: 2 -->", *block)
    with pytest.raises(AssertionError, match="ended with 1"):
        _run(tmp_path, "<!-- exits: 3 -->", *block, f"{FENCE}bash", "false", FENCE)


def test_what_a_page_leaves_running_ends_with_it(tmp_path: Path) -> None:
    printed = _run(tmp_path, f"{FENCE}bash", "sleep 600 &", "echo $!", FENCE)
    status = Path("/proc", printed.strip(), "status")
    eventually(lambda: not status.exists() or "zombie" in status.read_text())
