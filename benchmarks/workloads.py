"""What is mirrored in each workload, and what changed in the bucket between its rounds."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.contestants import AWS, OURS_BARE, RCLONE, RCLONE_BEST, S5CMD_CP, S5CMD_SYNC
from benchmarks.figures import BURST, IDLE, LATENCY, RUN, Metric
from benchmarks.goals import EVERY_PEER, OURS, AnyGoal, Bound, Goal, Growth
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


def ever_new(count: int, size: int) -> Callable[[int], list[Item]]:
    """Each round brings keys that none before it had."""
    return lambda round_number: [
        _item(round_number * count + number, size) for number in range(count)
    ]


def large(count: int, size: int, part: int, *, has_crc: bool) -> Callable[[int], list[Item]]:
    return lambda _: [
        _item(number, size, part_size=part, has_crc=has_crc) for number in range(count)
    ]


def changing(count: int, size: int) -> Callable[[int], list[Item]]:
    """Each round 1 % of the keys are new versions, 0.5 % are gone, as many others are there.

    New versions are of this moment: who goes by dates must find them newer than his files. So a
    new second begins first.
    """

    def items(round_number: int) -> list[Item]:
        absent = 1 + round_number % 2  # of 200
        moment = math.ceil(time.time())
        time.sleep(moment - time.time())
        now = moment - int(BORN.timestamp())
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


MEMORY, DISK = Setting("light", "memory"), Setting("light", "disk")
REALISTIC = Setting("seaweed", "disk")
ALL = (MEMORY, DISK, REALISTIC)
DURABLE = (DISK, REALISTIC)  # in memory nothing is durable, and fsync costs nothing


@dataclass(frozen=True)
class Workload:
    """`items` gives the bucket's objects of a round; `fresh`: the folders are empty before each.

    `way` says how it is measured: sync (programs that mirror, in turn), single, burst or idle
    (the service). `without` names contestants that do not take part, `few` those that are so slow
    that they run in the first rounds only, and where folders are fresh without a warm-up.
    `seeded`: all begin with the bucket's files in place; `changes`: some are others each round.
    """

    name: str
    text: str
    items: Callable[[int], list[Item]]
    fresh: bool = True
    goals: Sequence[AnyGoal] = ()
    way: str = "sync"
    ours: str = OURS
    metrics: Sequence[Metric] = RUN
    delay_ms: float = 0.0
    large: bool = False
    seeded: bool = False
    changes: bool = False
    warm_up: bool = True
    rounds: int = 5
    idle_seconds: float = 60.0
    records: int = 1  # events in one request
    room_gb: float = 0.0  # free space it needs
    room_files: int = 0  # names of files it needs: a tmpfs has a limit of them
    without: Sequence[str] = ()
    few: Mapping[str, int] = field(default_factory=lambda: {AWS: 1})
    hungry_gb: Mapping[str, float] = field(default_factory=dict)  # memory that contestants need
    variables: Mapping[str, str] = field(default_factory=dict)  # settings of ours
    settings: Sequence[Setting] = (MEMORY, DISK)

    def fed(self, free_gb: float) -> tuple["Workload", list[str]]:
        """Without those for whom so much memory is too little, and who they are."""
        starved = [name for name, needs in self.hungry_gb.items() if needs > free_gb]
        return replace(self, without=(*self.without, *starved)), starved

    def takes(self, contestant: str) -> bool:
        return contestant not in self.without

    def has_turn(self, contestant: str, number: int) -> bool:
        """Whether somebody runs in a round; 0 is the warm-up."""
        first = 1 if self.fresh and contestant in self.few else 0
        return first <= number <= self.few.get(contestant, math.inf)


ONE_EVENT, BARE_GET = "datasync, one event", "bare GET + fsync"
EVENTS = "datasync, events"
FIRST_RUN, RESTARTED = "datasync after its first run", "datasync after a restart"


def ratio(first: float, then: float | None = None) -> list[AnyGoal]:
    return [Goal(EVERY_PEER, "wall", first, then)]


UNCHANGED: list[AnyGoal] = [
    Goal(RCLONE_BEST, "wall", 0.5, 0.25),
    Goal(S5CMD_SYNC, "wall", 0.15),
]
REPLY: list[AnyGoal] = [
    Goal(BARE_GET, "p50", 4, 2, ours=ONE_EVENT),
    Goal(BARE_GET, "p99", 10, 2, ours=ONE_EVENT),
]
BURSTS: list[AnyGoal] = [Goal(OURS, "wall", 1.5, ours=EVENTS)]
REST: list[AnyGoal] = [
    bound
    for state in (FIRST_RUN, RESTARTED)
    for bound in (Bound("busy", 0.5, ours=state), Bound("memory", 120, ours=state))
]

MIB, GIB = 2**20, 2**30
ADMITTED = {"MAX_FILE_SIZE_MB": str(20 * 1024)}  # by default larger ones than 1,000 are not
WORKLOADS: Sequence[Workload] = (
    Workload(
        "W1", "20,000 x 4 KiB, cold", cold(20_000, 4096), goals=ratio(0.6, 0.35), settings=ALL
    ),
    Workload(
        "W1b",
        "4,000 x 4 KiB, cold, 20 ms of delay",
        cold(4_000, 4096),
        goals=ratio(0.6, 0.4),
        delay_ms=20,
    ),
    Workload(
        "W2", "2,000 x 256 KiB, cold", cold(2_000, 2**18), goals=ratio(0.75, 0.5), settings=ALL
    ),
    Workload(
        "W3",
        "4 x 1 GiB, cold, stored CRC64NVME",
        large(4, GIB, 16 * MIB, has_crc=True),
        goals=ratio(1.0, 0.8),
        large=True,
        room_gb=6,
        variables=ADMITTED,
    ),
    Workload(
        "W3-md5",
        "4 x 1 GiB, cold, MD5 of parts only",
        large(4, GIB, 16 * MIB, has_crc=False),
        goals=ratio(1.3, 0.8),
        large=True,
        room_gb=6,
        variables=ADMITTED,
    ),
    Workload(
        "W4a",
        "20,000 keys, nothing changed",
        cold(20_000, 16),
        fresh=False,
        goals=UNCHANGED,
        seeded=True,
        settings=ALL,
    ),
    Workload(
        "W4",
        "100,000 keys, nothing changed",
        cold(100_000, 16),
        fresh=False,
        goals=[*UNCHANGED, Growth("W4a", "peak", 30)],
        seeded=True,
        room_gb=3,
        room_files=800_000,
        settings=ALL,
    ),
    Workload(
        "W5",
        "1,000,000 keys, nothing changed",
        cold(1_000_000, 16),
        fresh=False,
        goals=[*UNCHANGED, Bound("peak", 250), Growth("W4", "peak", 30)],
        seeded=True,
        rounds=3,
        room_gb=14,
        room_files=1_200_000,
        without=(OURS_BARE, RCLONE),
        few={S5CMD_SYNC: 1, AWS: 1},
        hungry_gb={S5CMD_SYNC: 18},  # 3.1 with 200,000 keys
        settings=(DISK,),  # a tmpfs gives out too few names for all contestants
    ),
    Workload(
        "W6",
        "100,000 keys of 4 KiB, 1 % changed, 0.5 % gone",
        changing(100_000, 4096),
        fresh=False,
        goals=ratio(0.5),
        seeded=True,
        changes=True,
        room_gb=6,
        room_files=900_000,
    ),
    Workload(
        "W7",
        "one event at a time, 4 KiB, service idle",
        ever_new(350, 4096),
        goals=REPLY,
        way="single",
        ours=ONE_EVENT,
        metrics=LATENCY,
        settings=DURABLE,
    ),
    Workload(
        "W8",
        "10,000 events for 10,000 keys of 4 KiB",
        cold(10_000, 4096),
        goals=BURSTS,
        way="burst",
        ours=EVENTS,
        metrics=BURST,
        settings=DURABLE,
    ),
    Workload(
        "W8b",
        "10,000 events for 10,000 keys of 4 KiB, 100 in a request",
        cold(10_000, 4096),
        goals=BURSTS,
        way="burst",
        ours=EVENTS,
        metrics=BURST,
        settings=DURABLE,
        records=100,
    ),
    Workload(
        "W9",
        "service idle for a minute, 100,000 keys mirrored",
        cold(100_000, 16),
        goals=REST,
        way="idle",
        ours=FIRST_RUN,
        metrics=IDLE,
        rounds=1,
        settings=(DISK,),
    ),
    Workload(
        "W10",
        "1 x 20 GiB, cold, stored CRC64NVME",
        large(1, 20 * GIB, 16 * MIB, has_crc=True),
        goals=[*ratio(1.0), Growth("W3", "peak", 30)],
        large=True,
        warm_up=False,
        rounds=2,
        room_gb=24,
        without=(OURS_BARE, RCLONE, S5CMD_SYNC, S5CMD_CP, AWS),
        variables=ADMITTED,
        settings=(DISK,),
    ),
)


def _quick(name: str, text: str, items: Callable[[int], list[Item]], **more: Any) -> Workload:
    """A part of it for a look between two changes of the code: on two cores in three minutes."""
    whole = next(each for each in WORKLOADS if each.name == name)
    settings = (MEMORY,) if MEMORY in whole.settings else (DISK,)
    told = {"rounds": 3, "settings": settings, "room_gb": 0.0, "room_files": 0, **more}
    return replace(whole, text=text, items=items, **told)


ONLY_CP = (OURS_BARE, RCLONE, S5CMD_SYNC)
ONLY_SYNC = (OURS_BARE, RCLONE)
QUICK: Sequence[Workload] = (
    _quick("W1", "5,000 x 4 KiB, cold", cold(5_000, 4096), without=ONLY_CP),
    _quick("W2", "1,000 x 256 KiB, cold", cold(1_000, 2**18), without=ONLY_CP),
    _quick(
        "W3",
        "2 x 512 MiB, cold, stored CRC64NVME",
        large(2, GIB // 2, 16 * MIB, has_crc=True),
        without=ONLY_CP,
    ),
    _quick(
        "W4",
        "50,000 keys, nothing changed",
        cold(50_000, 16),
        goals=UNCHANGED,  # there is no W4a to compare with
        without=ONLY_SYNC,
    ),
    _quick(
        "W6",
        "20,000 keys of 4 KiB, 1 % changed, 0.5 % gone",
        changing(20_000, 4096),
        without=ONLY_SYNC,
    ),
    _quick("W7", "one event at a time, 4 KiB, service idle", ever_new(63, 4096)),
    _quick("W8", "5,000 events for 5,000 keys of 4 KiB", cold(5_000, 4096), rounds=1),
    _quick(
        "W9",
        "service idle for ten seconds, 2,000 keys mirrored",
        cold(2_000, 16),
        rounds=1,
        idle_seconds=10,
    ),
)
