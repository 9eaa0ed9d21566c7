"""The service: wires the parts of `composition` to HTTP, and serves them until it is stopped.

With `composition` the only file that may know everything; it does nothing but wire. Importing
it reads no environment and makes nothing.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from datasync import __version__
from datasync.api import docs, sync_routes
from datasync.api.connections import Connection
from datasync.api.dashboard.live import STREAMS_AT_ONCE
from datasync.api.dashboard.overview import Overviews
from datasync.api.dashboard.pages import Pages
from datasync.api.dashboard.refusals import refusal
from datasync.api.dependencies import Desk, Lanes, Places
from datasync.api.error_responses import HANDLERS
from datasync.api.hearing import Hearing
from datasync.api.file_routes import DOWNLOAD
from datasync.api.middleware import HeadMiddleware, LateCors, RequestMiddleware
from datasync.api.rates import Rates
from datasync.api.routes import add_routes
from datasync.api.security import AccessMiddleware, AccessPolicy
from datasync.api.senders import SenderPolicy
from datasync.api.sessions import Sessions, session_secret
from datasync.api.short_way import ShortWay
from datasync.api.shutdown import Shutdown
from datasync.api.tracing import TraceMiddleware
from datasync.composition import Components, compose, joined, preflight, start_logging
from datasync.config.problems import told
from datasync.config.loading import load_settings, unknown_variables, unusable
from datasync.config.settings import Settings
from datasync.errors import AddressInUse, ConfigurationError, DataSyncError
from datasync.services.events.sqs_consumer import QueueConsumer
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.paths import INTERNAL
from datasync.tracing.port import OFF
from datasync.utils.file_utils import allow_many_descriptors
from datasync.utils.logger import get_logger

WORKER_THREADS = 64
STOP_SECONDS = 7.0
CONSUMER_STOP_SECONDS = 1.0
GRACEFUL_SECONDS = 5
LINGER_SECONDS = 1.0
DOCTORS_AT_ONCE = 2


class Application(FastAPI):
    """FastAPI, whose failed start is one line instead of a traceback."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, self._brief(send))
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = docs.with_access(super().openapi())
        return self.openapi_schema

    def _brief(self, send: Send) -> Send:
        async def passed(message: Message) -> None:
            problem = getattr(self.state, "start_problem", None)
            if message["type"] == "lifespan.startup.failed" and problem is not None:
                refused(problem)
                message = {**message, "message": ""}
            await send(message)

        return passed


def create_app(
    settings: Settings | None = None, *, composer: Callable[[Settings], Components] = compose
) -> FastAPI:
    """The application. Settings are read when it starts, unless they are given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                await _start(app, stack, settings, composer)
            except DataSyncError as error:
                app.state.start_problem = error
                raise
            yield

    app = Application(
        title="DataSync",
        version=__version__,
        description=docs.DESCRIPTION,
        openapi_tags=docs.TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        separate_input_output_schemas=False,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.access = None
    app.state.tracer = OFF
    app.state.origins = ()
    app.state.shutdown = Shutdown()
    # The last one added is the first that a request meets.
    app.add_middleware(ShortWay, take=sync_routes.take, route=sync_routes.NOTIFICATION)
    app.add_middleware(HeadMiddleware, apart=(DOWNLOAD,))
    app.state.pages = None
    app.state.refusal = refusal(
        lambda: app.state.pages, lambda: app.state.access is not None and app.state.access.has_keys
    )
    app.add_middleware(
        AccessMiddleware,
        policy=lambda: app.state.access,
        rates=lambda: app.state.rates,
        refusal=app.state.refusal,
    )
    app.add_middleware(LateCors, origins=lambda: app.state.origins)
    app.add_middleware(RequestMiddleware, shutdown=lambda: app.state.shutdown)
    app.add_middleware(TraceMiddleware, tracer=lambda: app.state.tracer)
    add_routes(app)
    docs.add_docs(app)
    return app


async def _start(
    app: FastAPI,
    stack: AsyncExitStack,
    given: Settings | None,
    composer: Callable[[Settings], Components],
) -> None:
    settings = given or load_settings()
    use_logging(settings)
    components = composer(settings)
    stack.callback(components.close)
    stopper = Stopper(components.service, components.consumer)
    stack.push_async_callback(anyio.to_thread.run_sync, stopper.stop)
    shutdown = Shutdown(on_begin=stopper.begin)
    stack.enter_context(shutdown.listening())
    anyio.to_thread.current_default_thread_limiter().total_tokens = WORKER_THREADS
    app.state.shutdown = shutdown
    app.state.lanes = Lanes()
    app.state.rates = Rates()
    app.state.controller = components.controller
    app.state.tracer = components.tracer
    senders = SenderPolicy(
        settings.watched_notification_secret(), components.topics, settings.sns_topic_arns
    )
    hearing = Hearing(asyncio.get_running_loop())
    app.state.desk = Desk(components.intake, senders, hearing, shutdown)
    app.state.origins = settings.cors_origins
    keys = settings.watched_keys()
    app.state.keys = keys
    app.state.sessions = Sessions(session_secret(components.mirror.root / INTERNAL))
    app.state.pages = Pages(components.controller.settings())
    app.state.streams = Places(STREAMS_AT_ONCE)
    app.state.overviews = Overviews(components.controller)
    app.state.doctors = Places(DOCTORS_AT_ONCE)
    app.state.variables = settings.variables()
    app.state.access = AccessPolicy(keys, settings.cors_origins, app.state.sessions)
    stack.callback(setattr, app.state, "access", None)
    components.service.start()
    if components.consumer is not None:
        components.consumer.start()


class Stopper:
    """Stops what works once, from the moment the process is told to stop: the queue's consumer,
    so that nothing new is taken, then the engine."""

    def __init__(self, service: S3SyncService, consumer: QueueConsumer | None = None) -> None:
        self._service = service
        self._consumer = consumer
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start stopping; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._stop, name="stopper")
            self._thread.start()

    def _stop(self) -> None:
        if self._consumer is not None:
            self._consumer.stop(CONSUMER_STOP_SECONDS)
        self._service.stop(STOP_SECONDS)

    def stop(self) -> None:
        """Return when all has stopped."""
        self.begin()
        assert self._thread is not None
        self._thread.join()


def use_logging(settings: Settings) -> None:
    """Send log lines where the settings say; the server's own access lines are ours to write."""
    start_logging(settings)
    logging.getLogger("uvicorn.access").disabled = True
    for warning in unknown_variables():
        get_logger(__name__).warning(warning)


def refused(error: DataSyncError) -> int:
    """Say on stderr what keeps the service from starting; the exit code.

    2 for settings that another start cannot mend by itself, 1 for what may pass.
    """
    print(told(error), file=sys.stderr, flush=True)
    return 2 if isinstance(error, ConfigurationError) else 1


def serve(settings: Settings) -> int:
    """Serve until the process is told to stop; the exit code. The last thing a process does."""
    allow_many_descriptors()
    try:
        listener = _ready(settings)
        use_logging(settings)
    except DataSyncError as error:
        return refused(error)
    app = create_app(settings)
    server = Server(server_config(app), settings)
    # The server raises the signal again once it has stopped in good order: that is no failure.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listener])
    except (KeyboardInterrupt, SystemExit):
        pass  # a failed start exits by itself; it has said why
    finally:
        signal.signal(signal.SIGTERM, previous)
        listener.close()
    code = _exit_code(app, server)
    end_if_held_up(code)
    return code


class Server(uvicorn.Server):
    """Says where it serves and what, once it does."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        get_logger(__name__).info("serving", **places(self._settings))


def places(settings: Settings) -> dict[str, str]:
    """Where the service and its parts are, without any secret."""
    every = settings.api_host in ("0.0.0.0", "::")
    host = "localhost" if every else settings.api_host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"
    found = {
        "url": url,
        "docs": f"{url}/docs",
        "bucket": f"s3://{settings.s3_bucket_name}/{settings.s3_prefix}",
        "endpoint": settings.endpoint_url or "",
        "directory": str(settings.root),
        "access": "with a key" if settings.api_keys else "from this machine only",
        "traces": traces_place(settings),
    }
    return {name: text for name, text in found.items() if text}


def traces_place(settings: Settings) -> str:
    """Where traces go; "" where they are off."""
    if settings.traces == "otlp":
        return settings.traces_endpoint
    return "the console" if settings.traces == "console" else ""


def _ready(settings: Settings) -> socket.socket:
    """A socket to listen on, once all is tried that the settings name.

    Raises: ConfigurationError with one line for each bad setting; AddressInUse, MirrorError.
    """
    problems, listener = [], None
    try:
        listener = bind(settings.api_host, settings.api_port)
    except ConfigurationError as error:
        problems.append(error)
    try:
        preflight(settings)
    except DataSyncError as error:
        if listener is not None:
            listener.close()
        if not isinstance(error, ConfigurationError):
            raise
        problems.append(error)
    if listener is None or problems:
        raise joined(problems)
    return listener


def _exit_code(app: FastAPI, server: uvicorn.Server) -> int:
    if server.started:
        return 0
    return 2 if isinstance(getattr(app.state, "start_problem", None), ConfigurationError) else 1


def end_if_held_up(code: int) -> None:
    """End the process at once if a thread hangs in a call that nothing can interrupt.

    Everything is closed and durable by now; a name server or a credential service that does not
    answer must not keep the process alive.
    """
    deadline = time.monotonic() + LINGER_SECONDS
    # Daemons too: the interpreter waits for those of a thread pool all the same.
    here = threading.current_thread()
    # A long poll of the queue cannot be cut short, and is known to be under way.
    others = [one for one in threading.enumerate() if one is not here and not _polls(one)]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [thread.name for thread in others if thread.is_alive()]
    if stuck:
        get_logger(__name__).warning("left hanging threads behind", threads=", ".join(stuck))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _polls(thread: threading.Thread) -> bool:
    return thread.daemon and thread.name.startswith("sqs-")


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn runs here. Forwarding headers are not believed, so nobody can pose as local."""
    return uvicorn.Config(
        app,
        http=Connection,
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises: ConfigurationError, AddressInUse."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise unusable("api_host", f"{host} cannot be listened on: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise _unbound(error, host, port) from None
    return listener


def _unbound(error: OSError, host: str, port: int) -> DataSyncError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"API_PORT {port} is in use: another program listens on port {port}")
    if error.errno == errno.EADDRNOTAVAIL:
        return unusable("api_host", f"{host} is no address of this machine")
    return unusable("api_port", f"{port} cannot be listened on: {error.strerror}")
