"""Runs the demo from start to end: the local AWS, the service in this process, the screen."""

import os
import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from rich.console import Console

from datasync.app import bind, create_app, server_config
from datasync.composition import check_log_file
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.controllers.tallies import counted
from datasync.demo import shell
from datasync.demo.cloud import BUCKET, KEY, REGION, Cloud, running_cloud
from datasync.demo.folder import demo_folder
from datasync.demo.ports import free_port, is_free
from datasync.demo.put import announced
from datasync.demo.screen import Places, changes, look, show
from datasync.errors import ConfigurationError
from datasync.models.access import Right

HOST = "127.0.0.1"
FOLDER = Path("demo_files")
LOOK_SECONDS = 0.2
START_SECONDS = 60.0
GRACE_SECONDS = 5


@dataclass(slots=True)
class _Failure:
    error: BaseException | None = None


def run_demo(port: int | None = None, console: Console | None = None) -> None:
    """Run the demo until Ctrl-C or SIGTERM; everything it started has ended when it returns.

    `port` is the service's (default: API_PORT, or a free one when that is taken).
    Raises: ConfigurationError when something keeps it from starting.
    """
    screen = console or Console(highlight=False)
    _bypass_proxies()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            _run(stack, screen, port)
    except KeyboardInterrupt:
        screen.print("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _bypass_proxies() -> None:
    """All traffic stays on this machine; a proxy could not reach it."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST, "localhost")))


def _run(stack: ExitStack, screen: Console, port: int | None) -> None:
    wanted = _settings("http://127.0.0.1", port)
    check_log_file(wanted)
    root = stack.enter_context(demo_folder(wanted.root))
    with screen.status("Starting a local AWS and filling a bucket ..."):
        cloud = stack.enter_context(running_cloud())
        objects = cloud.fill()
    free = wanted.api_port if is_free(wanted.api_port) else free_port()
    settings = _settings(cloud.endpoint, free)
    variables = shell.variables(settings)
    has_put = stack.enter_context(announced(f"{cloud.endpoint}/{BUCKET}", variables))
    places = Places(
        service=f"http://{HOST}:{settings.api_port}",
        bucket=f"{cloud.endpoint}/{BUCKET}",
        root=root,
        objects=objects,
        has_put=has_put,
        variables=variables,
        port_note=_port_note(wanted.api_port, settings.api_port),
    )
    _serve(screen, settings, cloud, places)


def _port_note(wanted: int, taken: int) -> str:
    return "" if wanted == taken else f" (port {wanted} is in use by another program)"


def _settings(endpoint: str, port: int | None) -> Settings:
    """The user's settings, turned to the demo's bucket; what could reach elsewhere is dropped."""
    base = load_settings(
        s3_bucket_name=BUCKET,
        aws_endpoint_url_s3=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        aws_region=REGION,
        api_host=HOST,
        api_port=port,
        log_level="WARNING",
    )
    own = {
        "aws_session_token": None,
        "aws_profile": None,
        "aws_no_sign_request": False,
        "aws_ca_bundle": None,
        "sqs_queue_url": None,
        "sns_topic_arns": (),
        "database_url": None,
        "s3_prefix": "",
        "local_download_dir": FOLDER,  # never where a real mirror is meant to be
        "log_file": base.log_file if "log_file" in base.model_fields_set else None,
    }
    return base.model_copy(update=own)


def _serve(screen: Console, settings: Settings, cloud: Cloud, places: Places) -> None:
    server = uvicorn.Server(server_config(create_app(settings)))
    listener = bind(HOST, settings.api_port)
    stop, failure = threading.Event(), _Failure()
    guide = threading.Thread(
        target=_guide, args=(screen, settings, cloud, places, server, stop, failure), daemon=True
    )
    guide.start()
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        stop.set()
        guide.join(GRACE_SECONDS)
    if failure.error is not None:
        raise failure.error


def _guide(
    screen: Console,
    settings: Settings,
    cloud: Cloud,
    places: Places,
    server: uvicorn.Server,
    stop: threading.Event,
    failure: _Failure,
) -> None:
    """The thread beside the server: deploys the forwarder once it answers, then shows changes."""
    try:
        with screen.status("Starting the service and deploying the forwarder ..."):
            _await_start(server, stop)
            if stop.is_set():
                return
            keys = [key for key in settings.access_keys if Right.NOTIFY in key.role.rights]
            cloud.deploy(places.service, next((key.secret for key in keys if key.secret), ""))
            cloud.warm()
        show(screen, places)
        _watch(screen, places.root, stop)
    except Exception as error:  # the edge of this thread: the main one raises it
        failure.error = error
        server.should_exit = True


def _await_start(server: uvicorn.Server, stop: threading.Event) -> None:
    for _ in range(int(START_SECONDS / LOOK_SECONDS)):
        if server.started or stop.wait(LOOK_SECONDS):
            return
    raise ConfigurationError("the service did not start in time")


def _watch(screen: Console, root: Path, stop: threading.Event) -> None:
    seen = look(root)
    screen.print(f"{counted(len(seen), 'file')} so far. Changes from now on:")
    while not stop.wait(LOOK_SECONDS):
        now = look(root)
        for line in changes(seen, now):
            screen.print(line, soft_wrap=True)
        seen = now
