"""How the values are made that are made for every object: as cheaply as Python can.

For the type checker `value` is `dataclass`, and what is `frozen` may not be assigned to. While
the program runs nothing guards that: a guard makes each value cost five times as much, and many
are made on the way of one object.
"""

from functools import partial
from typing import TYPE_CHECKING

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots):
        """A dataclass with the equality and the hash of a frozen one."""
        return partial(dataclass, slots=slots, unsafe_hash=frozen)
