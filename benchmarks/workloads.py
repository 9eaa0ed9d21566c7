"""What is mirrored in each workload, and what changed in the bucket between its rounds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.light import BORN, Item

STRIDE = 28_657  # odd, so that neighbours differ in every byte


def _item(
    number: int, size: int, *, version: int = 0, part_size: int = 0, has_crc: bool = False
) -> Item:
    """An object; `version` is 0, or the seconds since BORN at which it was put again."""
    key = f"data/{number // 1000:04}/{number:07}.bin"
    offset = number * STRIDE + version * 1_000_003
    return Item(key, size, offset, version or number % 86_400, part_size, has_crc)


def cold(count: int, size: int) -> Callable[[int], list[Item]]:
    return lambda _: [_item(number, size) for number in range(count)]


def large(count: int, size: int, part: int, *, has_crc: bool) -> Callable[[int], list[Item]]:
    return lambda _: [
        _item(number, size, part_size=part, has_crc=has_crc) for number in range(count)
    ]


def changing(count: int, size: int) -> Callable[[int], list[Item]]:
    """Each round 1 % of the keys are new versions, 0.5 % are gone, as many others are there.

    New versions are of this moment: who goes by dates must find them newer than his files.
    """

    def items(round_number: int) -> list[Item]:
        absent = 1 + round_number % 2  # of 200
        now = int(time.time() - BORN.timestamp())
        return [
            _item(number, size, version=now if number % 100 == 7 else 0)
            for number in range(count)
            if number % 200 != absent
        ]

    return items


@dataclass(frozen=True)
class Setting:
    """Which server (light, seaweed) the objects come from, and where the files go."""

    server: str
    place: str

    def __str__(self) -> str:
        return f"{self.server} server, files {'in memory' if self.place == 'memory' else 'on disk'}"


MEMORY, DISK = Setting("light", "memory"), Setting("light", "disk")
REALISTIC = Setting("seaweed", "disk")
ALL = (MEMORY, DISK, REALISTIC)


@dataclass(frozen=True)
class Workload:
    """`items` gives the bucket's objects of a round; `fresh`: the folders are empty before each."""

    name: str
    text: str
    items: Callable[[int], list[Item]]
    fresh: bool
    goals: str
    delay_ms: float = 0.0
    large: bool = False
    rounds: int = 5
    settings: Sequence[Setting] = (MEMORY, DISK)


MIB, GIB = 2**20, 2**30
WORKLOADS: Sequence[Workload] = (
    Workload(
        "W1", "20,000 x 4 KiB, cold", cold(20_000, 4096), True, "0.6, then 0.35", settings=ALL
    ),
    Workload(
        "W1b",
        "4,000 x 4 KiB, cold, 20 ms of delay",
        cold(4_000, 4096),
        True,
        "0.6, then 0.4",
        delay_ms=20,
    ),
    Workload(
        "W2", "2,000 x 256 KiB, cold", cold(2_000, 2**18), True, "0.75, then 0.5", settings=ALL
    ),
    Workload(
        "W3",
        "4 x 1 GiB, cold, stored CRC64NVME",
        large(4, GIB, 16 * MIB, has_crc=True),
        True,
        "1.0, then 0.8",
        large=True,
    ),
    Workload(
        "W3-md5",
        "4 x 1 GiB, cold, MD5 of parts only",
        large(4, GIB, 16 * MIB, has_crc=False),
        True,
        "1.3, then 0.8",
        large=True,
    ),
    Workload(
        "W4a",
        "20,000 keys, nothing changed",
        cold(20_000, 16),
        False,
        "as W4, which must not take 30 MB more",
        settings=(MEMORY, REALISTIC),
    ),
    Workload(
        "W4",
        "100,000 keys, nothing changed",
        cold(100_000, 16),
        False,
        "0.5 of rclone tuned and 0.15 of s5cmd sync, then 0.25",
        settings=ALL,
    ),
    Workload("W5", "1,000,000 keys, nothing changed", cold(1_000_000, 16), False, "as W4"),
    Workload("W6", "100,000 keys, 1 % changed, 0.5 % gone", changing(100_000, 4096), False, "0.5"),
)
QUICK: Sequence[Workload] = (
    Workload(
        "W1", "2,000 x 4 KiB, cold", cold(2_000, 4096), True, "0.6", rounds=3, settings=(MEMORY,)
    ),
    Workload(
        "W2", "300 x 256 KiB, cold", cold(300, 2**18), True, "0.75", rounds=3, settings=(MEMORY,)
    ),
    Workload(
        "W4",
        "10,000 keys, nothing changed",
        cold(10_000, 16),
        False,
        "0.5",
        rounds=3,
        settings=(MEMORY,),
    ),
    Workload(
        "W6",
        "10,000 keys, 1 % changed",
        changing(10_000, 4096),
        False,
        "0.5",
        rounds=3,
        settings=(MEMORY,),
    ),
)
