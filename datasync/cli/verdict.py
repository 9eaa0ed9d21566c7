"""What speaks against equality, in the words of the command line, beside a run or a plan.

Reads the ledger and changes nothing; the rule itself is `controllers/equality.py`.
"""

import time
from typing import TYPE_CHECKING

from datasync.cli.wording import in_commands
from datasync.controllers.equality import MirrorFacts, concerns
from datasync.models.sync_models import State

if TYPE_CHECKING:
    from datasync.composition import Components

PAGE = 1000


def noted(facts: MirrorFacts) -> list[str]:
    """What is not well, each in a sentence without its full stop."""
    found = concerns(facts, time.time())
    if facts.outdated and not facts.overdue:  # as configured, so no concern of health's
        found.append("the last complete reconciliation is too old to prove anything")
    return [in_commands(text) for text in found]


def failing_keys(parts: "Components", facts: MirrorFacts, scope: str) -> int:
    """How many keys below `scope` failed and are not right since. Raises: LedgerError."""
    everywhere = facts.totals.failed
    if not everywhere or scope == parts.settings.s3_prefix:
        return everywhere
    count, after = 0, ""
    while page := parts.ledger.failures(scope, after, PAGE):
        after = page[-1].key
        count += sum(bad.state is not State.REJECTED or bad.attempts > 0 for bad in page)
    return count
