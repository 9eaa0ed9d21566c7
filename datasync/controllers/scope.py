"""Which part of the bucket is mirrored, and how a prefix that was asked for lies in it.

Pure: knows no ledger, disk, clock or settings.
"""

from dataclasses import dataclass

from datasync.errors import MalformedRequest


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything below one prefix, S3_PREFIX; "" is the whole bucket."""

    prefix: str

    def holds(self, key: str) -> bool:
        """Whether the key is one that is mirrored."""
        return key.startswith(self.prefix)

    def within(self, asked: str) -> str:
        """The prefix to look below: the one asked for, or all that is mirrored for "".

        Raises: MalformedRequest when it is outside.
        """
        if asked and not self.holds(asked):
            raise MalformedRequest(
                f"prefix is outside S3_PREFIX ({self.prefix})",
                hint="Leave prefix out to mean everything.",
            )
        return asked or self.prefix

    def of_run(self, asked: str) -> str:
        """The prefix as runs name it: "" is all that is mirrored, whatever S3_PREFIX says.

        Raises: MalformedRequest when it is outside.
        """
        wanted = self.within(asked)
        return "" if wanted == self.prefix else wanted
