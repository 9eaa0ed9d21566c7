"""Promises 1 to 5 by model: whatever happens, in whatever order, each step keeps them.

Hypothesis interleaves what `Play` knows: changes in the bucket, events, runs, faults, meddling,
kills and restarts. After every step the reference compares; when all is quiet, the mirror must
be equal. A failure is shrunk to a script of calls, which belongs into `test_scripts.py`.
`MODEL_CASES=n` plays so many, `MODEL_SEED=n` repeats one search.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.engine.model.play import FAULTS, KEYS, NEVER, Play

CASES = int(os.environ.get("MODEL_CASES", "25"))
SEED = os.environ.get("MODEL_SEED") or None
pytestmark = [pytest.mark.timeout(300 + 4 * CASES), pytest.mark.no_cover]

keys = st.sampled_from(KEYS)
sizes = st.sampled_from((0, 1, 30, 5_000, 130_000, 600_000))
kinds = st.sampled_from(("plain", "plain", "parts", "checksum", "archived"))
moments = st.integers(1, 12)


class Machine(RuleBasedStateMachine):
    """The rules: one for each happening of `Play`, most of them often."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.play = Play(self.home)

    def teardown(self) -> None:
        try:
            self.play.settle()
        finally:
            self.play.close()
            shutil.rmtree(self.home)

    @initialize(some=st.lists(keys, max_size=6, unique=True))
    def begin(self, some: list[str]) -> None:
        for key in some:
            self.play.put(key, 20)
        self.play.run()

    @rule(key=keys, size=sizes, how=kinds)
    def put(self, key: str, size: int, how: str) -> None:
        self.play.put(key, size, how)

    @rule(
        key=keys,
        what=st.sampled_from(("overwrite", "put_back", "delete", "delete", "undelete")),
    )
    def change(self, key: str, what: str) -> None:
        getattr(self.play, what)(key)

    @rule(key=keys, restored=st.booleans())
    def archive(self, key: str, restored: bool) -> None:
        self.play.archive(key, restored=restored)

    @rule(some=st.lists(st.sampled_from((*KEYS, NEVER)), min_size=1, max_size=4))
    def event(self, some: list[str]) -> None:
        self.play.event(*some)

    @rule()
    def odd_names(self) -> None:
        self.play.list_odd_name()
        self.play.event_of_no_key()

    @rule()
    def work_off(self) -> None:
        self.play.work_off()

    @rule(prefix=st.sampled_from(("", "", "", "a", "dir/")), verify=st.booleans())
    def run(self, prefix: str, verify: bool) -> None:
        self.play.run(prefix, verify and not prefix)

    @rule(
        request=moments,
        key=keys,
        happening=st.sampled_from(("put", "delete", "nothing")),
        told=st.booleans(),
    )
    def run_while(self, request: int, key: str, happening: str, told: bool) -> None:
        self.play.run_while(request, key, happening, told)

    @rule(request=moments, how=st.sampled_from(("cancelled", "outage")))
    def run_stopped(self, request: int, how: str) -> None:
        self.play.run_stopped(request, how)

    @rule(step=st.integers(1, 60), prefix=st.sampled_from(("", "", "a")))
    def killed(self, step: int, prefix: str) -> None:
        self.play.killed(step, prefix)

    @rule()
    def dry_run(self) -> None:
        self.play.dry_run()

    @rule(yes=st.booleans())
    def answer_held(self, yes: bool) -> None:
        if yes:
            self.play.approve()
        else:
            self.play.reject()

    @rule(how=st.sampled_from(("restart", "restart", "lose_ledger")))
    def restart(self, how: str) -> None:
        getattr(self.play, how)()

    @rule(key=keys, name=st.sampled_from(sorted(FAULTS)), times=st.integers(1, 3))
    def fault(self, key: str, name: str, times: int) -> None:
        self.play.fault(key, name, times)

    @rule(how=st.sampled_from(("unordered", "empty", "cut", "fails", "fails for good")))
    def listing_fault(self, how: str) -> None:
        self.play.listing_fault(how)

    @rule(
        call=st.sampled_from(("write_at", "rename_new", "replace", "exchange")),
        number=st.sampled_from((errno.ENOSPC, errno.EIO, errno.EROFS)),
        after=st.integers(0, 3),
    )
    def disk_fault(self, call: str, number: int, after: int) -> None:
        self.play.disk_fault(call, number, after)

    @rule()
    def ledger_fault(self) -> None:
        self.play.ledger_fault()

    @rule(
        key=keys,
        how=st.sampled_from(
            ("changed", "same size", "touched", "removed", "link", "folder", "pipe", "hard link")
        ),
    )
    def meddle(self, key: str, how: str) -> None:
        self.play.meddle(key, how)

    @rule(
        path=st.sampled_from(("mine", "a", "a/b", "a/mine", "dir", "dir/x", "b", "%FF=a")),
        how=st.sampled_from(("file", "link", "folder link", "hard link", "pipe", "folder")),
    )
    def plant(self, path: str, how: str) -> None:
        self.play.plant(path, how)

    @rule(folder=st.sampled_from(("a", "dir", "b")), leave=st.sampled_from(("nothing", "link")))
    def remove_folder(self, folder: str, leave: str) -> None:
        self.play.remove_folder(folder, leave)

    @rule(overwrite=st.booleans())
    def restore(self, overwrite: bool) -> None:
        self.play.restore(overwrite)


def test_every_step_keeps_the_promises(tmp_path: Path) -> None:
    class Here(Machine):
        folder = tmp_path

    if SEED is not None:
        seed(int(SEED))(Here)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=CASES,
            stateful_step_count=14,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
