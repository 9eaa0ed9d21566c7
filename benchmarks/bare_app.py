"""The service with one more route that does nothing: what accepting costs without a journal.

    python -m benchmarks.bare_app

Settings come from the environment, as with `python server.py`.
"""

import uvicorn
from fastapi import Request

from datasync.app import bind, create_app, server_config
from datasync.config.loading import load_settings

PATH = "/sync/nothing"


def main() -> None:
    """Serve until stopped."""
    settings = load_settings()
    app = create_app(settings)

    @app.post(PATH, status_code=202)
    async def nothing(request: Request) -> dict[str, str]:
        await request.body()
        return {"status": "accepted"}

    listener = bind(settings.api_host, settings.api_port)
    uvicorn.Server(server_config(app)).run(sockets=[listener])


if __name__ == "__main__":
    main()
