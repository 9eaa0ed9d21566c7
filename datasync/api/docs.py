"""/docs and /redoc, served from this process alone, and the parts of the OpenAPI document.

The pages load nothing from any other host: scripts, styles and the icon are files of the
package fastapi-offline, and a Content-Security-Policy forbids the browser to ask anyone else.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from datasync.api.requests import without_range
from datasync.api.security import OPEN_PATHS, OPEN_WITH_KEYS, root_of

ASSETS = "/docs-assets"
DESCRIPTION = """\
DataSync keeps a local directory equal to an S3 bucket, continuously, and can prove it.

**Access.** With `API_KEYS` set, send one as `Authorization: Bearer <key>` or `X-API-Key`. Its
role says what it may do: `read` (every GET), `operate` (changes as well), `notify` (events only),
`admin` (everything). Without keys, only direct calls from the service's own machine are let in.
`/ping` and `/health/live` are open.

**Errors** have one shape on every route: `{"error", "detail", "hint"}`.
"""
TAGS = [
    {"name": "service", "description": "What is running, and how it is."},
    {"name": "sync", "description": "Ask for work and hear how it ended."},
    {"name": "files", "description": "Read what is mirrored."},
    {"name": "runs", "description": "The history of runs; held plans."},
    {"name": "failures", "description": "Keys that are not right, and why."},
    {"name": "outcomes", "description": "What was done, and what is on its way."},
    {"name": "trash", "description": "What was taken away, and the way back."},
]
SCHEMES = {
    "BearerKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of API_KEYS: `Authorization: Bearer <key>`.",
    },
    "HeaderKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "One of API_KEYS: `X-API-Key: <key>`.",
    },
}
# Swagger UI and ReDoc set styles from scripts; ReDoc searches in a worker made from a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>DataSync - {title}</title>
<link rel="icon" href="{base}/favicon.png">
{head}
</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER_START = """\
SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""


def with_access(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the keys that all but the open routes ask for.

    Written in here, because the middleware asks for them: as dependencies of the routes they
    would cost every request their time, and do nothing.
    """
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        if path not in OPEN_PATHS | OPEN_WITH_KEYS:
            for operation in operations.values():
                operation["security"] = [{name: []} for name in SCHEMES]
    return document


class Assets(StaticFiles):
    """The files of the pages, always whole: nothing but a mirrored file has ranges here."""

    max_age_seconds = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start" and self.max_age_seconds:
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = f"max-age={self.max_age_seconds}"
            await send(message)

        await super().__call__(without_range(scope), receive, kept)


def _package_files() -> Path:
    return Path(str(files("fastapi_offline"))) / "static"


def _page(title: str, base: str, head: str, body: str) -> HTMLResponse:
    content = _PAGE.format(title=title, base=base, head=head, body=body)
    return HTMLResponse(
        content, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    )


def swagger_page(root: str) -> HTMLResponse:
    """Swagger UI for a service that is reached below the path `root`."""
    base = root + ASSETS
    return _page(
        "API",
        base,
        f'<link rel="stylesheet" href="{base}/swagger-ui.css">',
        f'<div id="swagger-ui" data-openapi="{root}/openapi.json"></div>\n'
        f'<script src="{base}/swagger-ui-bundle.js"></script>\n'
        f'<script src="{root}/docs/start.js"></script>',
    )


def redoc_page(root: str) -> HTMLResponse:
    """ReDoc for a service that is reached below the path `root`."""
    base = root + ASSETS
    return _page(
        "API reference",
        base,
        "<style>body { margin: 0; }</style>",
        f'<redoc spec-url="{root}/openapi.json"></redoc>\n'
        f'<script src="{base}/redoc.standalone.js"></script>',
    )


def add_docs(app: FastAPI) -> None:
    """Serve the pages and their files."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        return swagger_page(root_of(request.scope))

    @router.get("/docs/start.js")
    async def docs_start() -> Response:
        return Response(_SWAGGER_START, media_type="text/javascript")

    @router.get("/redoc")
    async def redoc(request: Request) -> Response:
        return redoc_page(root_of(request.scope))

    app.include_router(router)
    app.mount(ASSETS, Assets(directory=_package_files(), check_dir=False))
