"""What gunicorn reads by itself when it is started in this folder.

Bad settings then end it once and plainly, before any worker; each worker closes its sockets
once, and bounds its connections as `datasync serve` does.
"""

import sys
from typing import Any

graceful_timeout = 20  # a worker needs up to 10 seconds to stop within a large object


def on_starting(_arbiter: Any) -> None:
    """Try the settings in the first process, where nothing has been started yet."""
    from datasync.app import refused
    from datasync.composition import preflight
    from datasync.config.loading import load_settings
    from datasync.errors import DataSyncError
    from datasync.utils.file_utils import allow_many_descriptors

    allow_many_descriptors()  # the workers inherit it
    try:
        preflight(load_settings())
    except DataSyncError as error:
        sys.exit(refused(error))


def post_worker_init(worker: Any) -> None:
    """Give the event loop the sockets themselves, not gunicorn's shells around them.

    It closes what it is given; a shell does not notice, and would close the number again,
    which by then may be that of another file.
    """
    worker.sockets = [getattr(shell, "sock", shell) for shell in worker.sockets]
    # Named, not imported: it is loaded with the application.
    worker.config.http = "datasync.api.connections:Connection"
