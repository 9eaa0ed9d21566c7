"""What the benchmark measured survives an interruption, and it goes on with what is missing."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.__main__ import settings, shortage
from benchmarks.figures import LATENCY, Result
from benchmarks.goals import OURS, Verdict
from benchmarks.record import FILE, Record, Section
from benchmarks.workloads import WORKLOADS

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
MACHINE = {"cores": "2", "datasync": "abc"}


def section(name: str = "W1", *, complete: bool = True) -> Section:
    results = [Result(OURS, 1, {"wall": 1.5, "cpu": 1.0, "peak": 80.0, "server": 0.1})]
    return Section(name, "light", "disk", "some files", results=results, complete=complete)


def record(folder: Path, *sections: Section) -> Record:
    fresh = Record.new(folder, "full", MACHINE, NOON)
    fresh.sections += sections
    return fresh


def test_each_run_has_a_folder_of_its_own_named_by_moment_and_kind(tmp_path: Path) -> None:
    assert record(tmp_path).folder == tmp_path / "2026-03-01-120005-full"


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = record(tmp_path, section(), section("W2", complete=False))
    saved.sections[0].verdicts = [Verdict("wall", 0.6, 0.5, "s5cmd cp", 0.35)]
    saved.sections[1].metrics = list(LATENCY)
    saved.sections[1].notes.append("Left out: no room")
    saved.note("No AWS CLI")
    saved.save()
    loaded = Record.load(saved.folder)
    assert loaded.sections[1] == saved.sections[1]
    assert loaded.sections[0].verdicts == saved.sections[0].verdicts
    assert (loaded.notes, loaded.machine, loaded.kind) == (["No AWS CLI"], MACHINE, "full")


def test_the_document_says_itself_whether_goals_hold(tmp_path: Path) -> None:
    saved = record(tmp_path, section())
    saved.sections[0].verdicts = [Verdict("wall", 0.6, 0.5, "s5cmd cp", 0.35)]
    saved.save()
    (told,) = json.loads((saved.folder / FILE).read_text())["sections"]
    assert (told["verdicts"][0]["holds"], told["verdicts"][0]["then_holds"]) == (True, False)


def test_a_whole_workload_is_not_measured_again(tmp_path: Path) -> None:
    kept = record(tmp_path, section())
    assert kept.is_measured("W1", "light", "disk")
    assert not kept.is_measured("W1", "light", "memory")
    assert not kept.is_measured("W2", "light", "disk")
    assert len(kept.sections) == 1


def test_one_that_was_broken_off_is_measured_anew_in_all_its_rounds(tmp_path: Path) -> None:
    broken = record(tmp_path, section(complete=False), section("W2"))
    assert not broken.is_measured("W1", "light", "disk")
    assert [each.workload for each in broken.sections] == ["W2"]


def test_it_goes_on_and_says_what_changed_since(tmp_path: Path) -> None:
    saved = record(tmp_path, section())
    saved.go_on({**MACHINE, "datasync": "def"}, NOON)
    saved.go_on(MACHINE, NOON)
    first, second = saved.notes
    assert "datasync: abc, then def" in first
    assert "cores" not in first
    assert "changed" not in second


def test_others_are_those_of_the_same_setting(tmp_path: Path) -> None:
    here, there = section("W4"), section("W4a")
    elsewhere = section("W5")
    elsewhere.place = "memory"
    saved = record(tmp_path, there, here, elsewhere)
    assert saved.others(here) == {"W4a": there.results}


@pytest.mark.parametrize(
    "content", ["", "{}", '{"sections": [{}], "kind": "full"}', "[]", '{"sections": 1}']
)
def test_a_folder_without_results_is_told_from_one_with(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises((ValueError, KeyError, TypeError)):
        Record.load(tmp_path)


def test_saving_leaves_nothing_half_written(tmp_path: Path) -> None:
    saved = record(tmp_path, section())
    saved.save()
    saved.save()
    assert [path.name for path in saved.folder.iterdir()] == [FILE]


def test_each_workload_comes_once_in_each_of_its_settings() -> None:
    keys = [(each.name, at.server, at.place) for each, at in settings(WORKLOADS, None, None)]
    assert len(keys) == len(set(keys))
    assert {server for _, server, _ in keys} == {"light", "seaweed"}
    on_disk = list(settings(WORKLOADS, "light", "disk"))
    assert {(at.server, at.place) for _, at in on_disk} == {("light", "disk")}


def test_a_lack_of_room_is_said_in_words(tmp_path: Path) -> None:
    assert shortage(tmp_path, 0.0, 0) == ""
    assert "needs 1000000000 GB" in shortage(tmp_path, 1e9, 0)


def test_who_needs_more_memory_than_there_is_takes_no_part() -> None:
    (million,) = [each for each in WORKLOADS if each.hungry_gb]
    ((name, needs),) = million.hungry_gb.items()
    fed, starved = million.fed(needs - 1)
    assert (starved, fed.takes(name), fed.takes(OURS)) == ([name], False, True)
    assert million.fed(needs + 1) == (million, [])
