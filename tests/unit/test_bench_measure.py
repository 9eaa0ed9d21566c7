"""The benchmark measures what it says: all processes of a program, and the files they wrote."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.files import check, write
from benchmarks.light import POOL_BYTES, Item, Pool
from benchmarks.machine import file_system
from benchmarks.measure import Memory, children, cpu_of, measure

HOG = "import sys; held = bytes(range(256)) * 400_000; sys.stdin.read()"


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool()


def test_the_time_and_processor_of_a_command_are_told(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    values = measure([sys.executable, "-c", busy], {}, tmp_path, os.getpid())
    assert values["cpu"] >= 0.2
    assert values["wall"] >= 0.2
    assert values["peak"] > 1


def test_a_command_that_fails_ends_the_benchmark_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such bucket"):
        measure([sys.executable, "-c", "exit('no such bucket')"], {}, tmp_path, os.getpid())


def test_the_memory_of_children_counts() -> None:
    """A wrapper that starts the real program must not hide what that takes."""
    wrapper = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG!r}])"
    memory = Memory()
    with subprocess.Popen([sys.executable, "-c", wrapper], stdin=subprocess.PIPE) as process:
        while memory.peak < 100:
            assert process.poll() is None
            memory.look(process.pid)
        assert process.stdin
        process.stdin.close()


def test_the_processor_time_of_a_child_counts_when_it_is_over_too() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        known = psutil.Process(process.pid)
        while (spent := cpu_of([known])) < 0.2:
            assert process.poll() is None
        process.communicate(b"\n")
    assert spent >= 0.2


def test_children_of_nobody_are_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert children(process.pid) == []


ITEMS = [Item("a/b", 10, 5, age=60), Item("c", 3_000_000, POOL_BYTES - 7), Item("d", 0, 1)]


def test_files_are_written_as_the_objects_are(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path, ITEMS, pool)
    assert (tmp_path / "a/b").read_bytes() == pool.data[5:15]
    assert (tmp_path / "c").read_bytes()[:14] == pool.data[-7:] + pool.data[:7]
    (tmp_path / ".datasync").mkdir()
    (tmp_path / ".datasync" / "ledger.db").touch()
    check("somebody", tmp_path, ITEMS, pool)


@pytest.mark.parametrize("damage", ["longer", "shorter", "other", "missing", "extra"])
def test_a_wrong_file_is_noticed(tmp_path: Path, pool: Pool, damage: str) -> None:
    write(tmp_path, ITEMS, pool)
    file = tmp_path / "c"
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "extra":
        (tmp_path / "a" / "extra").touch()
    elif damage == "other":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        file.write_bytes(data + b"x" if damage == "longer" else data[:-1])
    with pytest.raises(SystemExit, match="somebody"):
        check("somebody", tmp_path, ITEMS, pool)


def test_the_etag_of_parts_is_that_of_their_bytes(pool: Pool) -> None:
    size, part = 3 * 2**20 + 5, 2**20
    item = Item("k", size, POOL_BYTES - 2**20, part_size=part)
    data = b"".join(map(bytes, pool.cut(item.offset, size)))
    parts = [hashlib.md5(data[at : at + part]).digest() for at in range(0, size, part)]
    assert item.etag(pool) == f"{hashlib.md5(b''.join(parts)).hexdigest()}-4"


def test_the_file_system_of_a_folder_is_named() -> None:
    assert file_system(Path("/proc")) == "proc"
