"""The exit codes of the command line, and nothing else.

0 in sync or done, 1 some keys failed, 2 held or refused, 64 wrong usage (sysexits.h),
130 stopped by SIGINT, 143 by SIGTERM (128 + the signal's number) or a hang-up.
"""

from datasync.errors import ConfigurationError, DataSyncError, RequestRefused, RunError
from datasync.models.sync_models import Run, RunStatus

DONE = 0
FAILED = 1
REFUSED = 2
USAGE = 64
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143

_BY_STATUS = {RunStatus.SUCCESS: DONE, RunStatus.HELD: REFUSED}


def exit_code_of(run: Run, failing: int = 0) -> int:
    """The exit code that tells how a run ended; `failing` keys of its scope are not right."""
    code = _BY_STATUS.get(run.status, FAILED)
    return FAILED if code == DONE and failing else code


def exit_code_of_error(error: DataSyncError) -> int:
    """2 for what was refused before anything happened, 1 for what failed."""
    return REFUSED if isinstance(error, (ConfigurationError, RunError, RequestRefused)) else FAILED
