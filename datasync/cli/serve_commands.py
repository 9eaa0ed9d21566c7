"""`datasync serve` and `datasync demo`: the service itself, with a real bucket or a sample one."""

import os
from typing import Annotated

import typer

from datasync.cli import exits, garbage
from datasync.cli.run_commands import Adopt
from datasync.cli.terminal import print_line, remark
from datasync.models.words import byte_text

Host = Annotated[str | None, typer.Option(help="Address to listen on; else API_HOST.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port to listen on; else API_PORT.")
]

demo = typer.Typer(
    help="Try it: a local S3 with sample objects, mirrored here.",
    epilog="Example: datasync demo --port 9000",
)


def serve(
    host: Host = None,
    port: Port = None,
    demo_if_unconfigured: Annotated[
        bool, typer.Option("--demo-if-unconfigured", help="Without a bucket, start the demo.")
    ] = False,
    adopt: Adopt = False,
) -> int:
    """Start the service and keep the mirror equal to the bucket until stopped."""
    if demo_if_unconfigured and not _bucket_is_named():
        remark("S3_BUCKET_NAME is not set, in the environment or in .env: starting the demo.")
        return _run_demo(port)
    from datasync.config.loading import load_settings

    settings = load_settings(api_host=host, api_port=port)
    from datasync import app, composition  # the framework fails over variables that are checked now

    if adopt:
        composition.compose(settings, adopt=True, traced=False).close()
    garbage.resume()
    return app.serve(settings)


@demo.callback(invoke_without_command=True)
def start_demo(context: typer.Context, port: Port = None) -> int:
    """Start the demo; Ctrl-C ends it."""
    return _run_demo(port) if context.invoked_subcommand is None else exits.DONE


@demo.command("put")
def put_object(
    key: Annotated[str, typer.Argument(help="Key of the object.")],
    content: Annotated[str, typer.Argument(help="Its text, or @ and the name of a file.")],
) -> int:
    """Put an object into the running demo's bucket."""
    from datasync.demo import put_object

    size = put_object(key, content)
    print_line(f"Put {key} ({byte_text(size)}) into the demo's bucket.")
    return exits.DONE


@demo.command("env")
def print_environment() -> int:
    """Print what points this shell's datasync at the running demo: eval "$(datasync demo env)"."""
    from datasync.demo import environment, lines

    for line in lines(environment()):
        typer.echo(line)  # as it is: a shell reads it
    return exits.DONE


def _run_demo(port: int | None) -> int:
    # Only here: the demo's parts are heavy, and absent where only the service is installed.
    from datasync.demo import run_demo

    garbage.resume()
    run_demo(port)
    return exits.DONE


def _bucket_is_named() -> bool:
    from datasync.config.sources import env_file_values

    return bool(os.environ.get("S3_BUCKET_NAME") or env_file_values().get("S3_BUCKET_NAME"))
