"""The exit codes of the command line, what each means, and nothing else."""

from datasync.errors import ConfigurationError, DataSyncError, RequestRefused, RunError
from datasync.models.sync_models import Run, RunStatus

DONE = 0
FAILED = 1
REFUSED = 2
USAGE = 64
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143

# 64 is of sysexits.h, those above 128 are 128 + the signal's number.
MEANINGS = {
    DONE: "In sync, or done",
    FAILED: "Some keys failed, something is not right, or the command could not do it",
    REFUSED: "A run is held, the request was refused, or a setting is bad",
    USAGE: "Wrong usage: no such command, option or value",
    INTERRUPTED: "Stopped by Ctrl-C (SIGINT)",
    PIPE_CLOSED: "What reads the output went away (SIGPIPE)",
    TERMINATED: "Stopped by SIGTERM, or by a hang-up",
}

_BY_STATUS = {RunStatus.SUCCESS: DONE, RunStatus.HELD: REFUSED}


def exit_code_of(run: Run, failing: int = 0) -> int:
    """The exit code that tells how a run ended; `failing` keys of its scope are not right."""
    code = _BY_STATUS.get(run.status, FAILED)
    return FAILED if code == DONE and failing else code


def exit_code_of_error(error: DataSyncError) -> int:
    """2 for what was refused before anything happened, 1 for what failed."""
    return REFUSED if isinstance(error, (ConfigurationError, RunError, RequestRefused)) else FAILED
