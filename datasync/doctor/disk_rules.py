"""Judges the numbers of a disk: space, inodes, the precision of times. Pure."""

from dataclasses import dataclass

from datasync.doctor.findings import Finding, failed, passed, warned

GIB = 2**30
FEW_INODES_PERCENT = 5.0
ROOMY_PERCENT = 5.0  # what is comfortable, whatever MIN_FREE_DISK_PERCENT says
SPACE_ADVICE = "Free space, or lower TRASH_MAX_PERCENT or MIN_FREE_DISK_PERCENT."
TIMES_ADVICE = "Keep the mirror on a local disk with a file system such as ext4 or XFS."


@dataclass(frozen=True, slots=True)
class Space:
    """What statvfs tells: bytes and inodes, `free` what this user may use. 0 in all: not told."""

    total_bytes: int
    free_bytes: int
    total_inodes: int
    free_inodes: int


def judge_space(space: Space, min_free_percent: float) -> Finding:
    """Whether downloads have room."""
    if not space.total_bytes:
        return passed("this file system does not count its space")
    percent = 100.0 * space.free_bytes / space.total_bytes
    text = f"{space.free_bytes / GIB:,.1f} of {space.total_bytes / GIB:,.1f} GiB free"
    text += f" ({percent:.1f} %)"
    if percent < min_free_percent:
        text += f", less than the {min_free_percent:g} % of MIN_FREE_DISK_PERCENT"
        return failed(f"{text}: downloads pause", SPACE_ADVICE)
    if percent < max(ROOMY_PERCENT, 2 * min_free_percent):
        return warned(f"{text}; downloads pause at {min_free_percent:g} %", SPACE_ADVICE)
    return passed(text)


def judge_inodes(space: Space) -> Finding:
    """Whether there is room for more files, however small."""
    if not space.total_inodes:
        return passed("this file system has no fixed number of inodes")
    percent = 100.0 * space.free_inodes / space.total_inodes
    text = f"{space.free_inodes:,} of {space.total_inodes:,} inodes free ({percent:.1f} %)"
    advice = "Remove files, or put the mirror on a file system with more inodes."
    if not space.free_inodes:
        return failed(text, advice)
    return warned(text, advice) if percent < FEW_INODES_PERCENT else passed(text)


def judge_times(given_ns: int, kept_ns: int) -> Finding:
    """How precisely a file's time is kept, by one that was given and what was read back."""
    off = abs(given_ns - kept_ns)
    if off == 0:
        return passed("times are kept to the nanosecond")
    if off < 1_000_000:
        return passed("times are kept to the microsecond, or nearly so")
    if given_ns // 10**9 == kept_ns // 10**9:
        return passed("times are kept to the second")
    return warned(
        f"times are off by {off / 1e9:.3g} s: a file that was changed may go unnoticed",
        TIMES_ADVICE,
    )
