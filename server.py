"""The service's entry point: `python server.py`, `gunicorn server:app`, `uvicorn server:app`.

Importing it makes the application but reads no setting; those are read when it starts.
"""

import sys

from datasync.app import create_app, refused, serve
from datasync.config.loading import load_settings
from datasync.errors import ConfigurationError

app = create_app()


def main() -> None:
    """Serve as the settings say, until told to stop; exit code 2 when they are bad."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(refused(error))
    sys.exit(serve(settings))


if __name__ == "__main__":
    main()
