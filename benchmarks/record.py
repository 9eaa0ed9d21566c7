"""The results of one run of the benchmark: a folder with `results.json`, saved as it goes on.

A run that was interrupted goes on with what is missing: a workload that had not come to its end
is measured anew, in all its rounds.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import RUN, Metric, Result
from benchmarks.goals import OURS, Verdict

FILE = "results.json"


@dataclass
class Section:
    """One workload in one setting. `ours` is who is compared with the others; `seconds`: what
    measuring it took in all.
    """

    workload: str
    server: str
    place: str
    text: str = ""
    ours: str = OURS
    metrics: Sequence[Metric] = RUN
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.workload, self.server, self.place

    @property
    def setting(self) -> tuple[str, str]:
        return self.server, self.place

    @property
    def where(self) -> str:
        return f"{self.server} server, files {'in memory' if self.place == 'memory' else 'on disk'}"

    @property
    def holds(self) -> bool | None:
        """All first goals; None when one could not be judged, or there is none."""
        states = [verdict.holds for verdict in self.verdicts]
        if False in states:
            return False
        return None if None in states or not states else True

    def told(self) -> dict[str, Any]:
        """For a JSON document; whether goals hold is said in words that need no computing."""
        verdicts = [
            {**asdict(each), "holds": each.holds, "then_holds": each.then_holds}
            for each in self.verdicts
        ]
        return {**asdict(self), "verdicts": verdicts}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Section":
        judged = ("holds", "then_holds")
        verdicts = [
            Verdict(**{name: value for name, value in each.items() if name not in judged})
            for each in told["verdicts"]
        ]
        results = [Result(**each) for each in told["results"]]
        metrics = [Metric(**each) for each in told["metrics"]]
        return cls(**{**told, "results": results, "metrics": metrics, "verdicts": verdicts})


@dataclass
class Record:
    """All that one run of the benchmark found, and on what. `kind`: full or quick."""

    folder: Path
    kind: str
    began: str
    machine: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @classmethod
    def new(cls, base: Path, kind: str, machine: Mapping[str, str], now: datetime) -> "Record":
        """An empty one in a folder of its own, named by its moment and kind."""
        folder = base / f"{now:%Y-%m-%d-%H%M%S}-{kind}"
        return cls(folder, kind, now.isoformat(timespec="seconds"), machine)

    @classmethod
    def load(cls, folder: Path) -> "Record":
        """What a folder holds. Raises: OSError, ValueError, KeyError, TypeError."""
        told = json.loads((folder / FILE).read_text())
        sections = [Section.read(each) for each in told["sections"]]
        return cls(folder, told["kind"], told["began"], told["machine"], told["notes"], sections)

    def go_on(self, machine: Mapping[str, str], now: datetime) -> None:
        """Note that it was interrupted, and what has changed since it began."""
        changed = [
            f"{name}: {self.machine.get(name, 'unknown')}, then {value}"
            for name, value in machine.items()
            if self.machine.get(name) != value
        ]
        since = f"; changed since it began: {'; '.join(changed)}" if changed else ""
        self.note(f"Interrupted, went on {now.isoformat(timespec='seconds')}{since}.")

    def note(self, words: str) -> None:
        """Say something of the whole run, once."""
        if words not in self.notes:
            self.notes.append(words)

    def section(self, workload: str, server: str, place: str) -> Section | None:
        """What came of a workload in a setting, if it was begun."""
        wanted = (workload, server, place)
        return next((each for each in self.sections if each.key == wanted), None)

    def is_measured(self, workload: str, server: str, place: str) -> bool:
        """Whether it came to its end; what was broken off is forgotten, it is measured anew."""
        found = self.section(workload, server, place)
        if found is not None and not found.complete:
            self.sections.remove(found)
        return found is not None and found.complete

    def others(self, section: Section) -> dict[str, Sequence[Result]]:
        """What was measured in the same setting, by workload."""
        return {
            each.workload: each.results
            for each in self.sections
            if each.setting == section.setting and each is not section
        }

    def save(self) -> None:
        """Write it, whole or not at all: what was measured before is never lost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {
            "kind": self.kind,
            "began": self.began,
            "machine": dict(self.machine),
            "notes": self.notes,
            "sections": [section.told() for section in self.sections],
        }
        fresh = self.folder / f"{FILE}.new"
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(fresh, self.folder / FILE)
