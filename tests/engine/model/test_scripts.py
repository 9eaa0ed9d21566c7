"""What the model found, as the shortest script that shows it. Each was an error once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.model.play import Play
from tests.support.fake_objects import etag_of


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    made = Play(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("how", ["noticed by a run", "told by an event"])
def test_a_file_placed_right_before_a_kill_whose_object_then_goes(play: Play, how: str) -> None:
    """It had its name and no row yet; nobody knew later that it was ours to remove."""
    play.run()
    play.put("a", 20)
    play.killed("settle")
    assert "a" in play.world.tree()
    play.delete("a")
    if how == "told by an event":
        play.event("a")
        play.work_off()
        assert "a" not in play.world.tree()
    play.settle()


def test_a_file_that_moved_aside_right_before_a_kill_whose_object_then_goes(play: Play) -> None:
    """Its row still told of the old place, where a folder was by then."""
    play.put("a", 20)
    play.run()
    play.put("a/b", 20)
    play.killed("settle")
    assert "%FF=a" in play.world.tree()
    play.delete("a")
    play.settle()


def test_a_file_placed_right_before_a_kill_whose_object_is_then_put_back(play: Play) -> None:
    """Size and date were the same all the time: the file passed for what its row spoke of."""
    play.put("a", 20)
    play.run()
    before = play.world.tree()
    play.overwrite("a")
    play.killed("settle")
    assert play.world.tree() != before
    play.put_back("a")
    play.settle()
    assert play.world.tree() == before


@pytest.mark.parametrize("step", ["os.rename", "settle"])
def test_no_row_tells_of_a_version_that_was_noted_and_never_placed(play: Play, step: str) -> None:
    """Size and date are those of the file that is there: it is nobody's word on which it is."""
    play.put("a", 20)
    play.run()
    older = play.world.row("a").etag
    play.overwrite("a")
    play.killed(step)
    with play.world.service._leading():  # the next start looks at what was noted
        there = etag_of(play.world.tree()["a"], ())
        assert play.world.row("a").etag in (older, there)
    play.settle()


def test_an_object_goes_whose_folder_somebody_replaced_by_a_link(play: Play) -> None:
    """Its file may be behind the link: it is reported until the link is gone."""
    play.put("a", 20)
    play.put("a/b", 20)
    play.run()
    play.remove_folder("a", "link")
    play.delete("a/b")
    play.settle()


def test_a_folder_marker_that_is_archived_takes_the_place_of_a_file(play: Play) -> None:
    play.put("dir/", 20)
    play.run()
    play.put("dir/", 0, "archived")
    play.run()
    play.settle()


@pytest.mark.parametrize(("size", "how"), [(600_000, "plain"), (20, "archived")])
def test_an_event_of_an_object_that_is_not_mirrored_says_no_less_than_its_listing(
    play: Play, size: int, how: str
) -> None:
    """Its row lost size and ETag, and the next run had it to record again."""
    play.put("a", size, how)
    play.event("a")
    play.settle()
