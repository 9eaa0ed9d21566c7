"""Puts the commands together and turns every way they end into an exit code.

Errors become one or two lines on stderr, and never a traceback, but for a fault of ours of which no
log can tell. What a command returns is its exit code.
"""

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from datasync import __version__
from datasync.cli import exits
from datasync.cli.config_commands import config
from datasync.cli.doctor_commands import doctor
from datasync.cli.examples import show_examples
from datasync.cli.key_commands import keys
from datasync.cli.lambda_commands import forwarder
from datasync.cli.log_commands import logs
from datasync.cli.look_commands import failures, files, status
from datasync.cli.run_commands import approve, cancel, plan, retry, runs, sync, verify
from datasync.cli.serve_commands import demo, serve
from datasync.cli.session import point_at
from datasync.cli.terminal import print_error, silence_stdout
from datasync.cli.termination import Termination
from datasync.cli.top_command import top
from datasync.cli.trash_commands import trash
from datasync.cli.wording import in_commands
from datasync.errors import ConfigurationError, DataSyncError
from datasync.utils.logger import close_logging, get_logger, masked, writes_file

# What may be asked of a service elsewhere; all else works on this machine's directory alone.
ANYWHERE = (sync, plan, status, files, failures, retry, runs, approve, cancel)
HELP = ["-h", "--help"]

app = typer.Typer(
    name="datasync",
    help="Keeps a local directory equal to an S3 bucket, and can prove it.",
    epilog="Settings come from the environment and .env. Exit codes: 0 in sync, 1 failed, "
    "2 held or refused, 64 wrong usage, 130 stopped.",
    context_settings={"help_option_names": HELP},
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar="DATASYNC_URL",
            help="Ask the service at this address; its key is in DATASYNC_API_KEY or "
            "DATASYNC_API_KEY_FILE. Empty: this machine.",
        ),
    ] = "",
) -> int:
    if version:
        typer.echo(f"datasync {__version__}")
        raise typer.Exit(exits.DONE)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)  # Typer itself may have printed it, with Rich
        raise typer.Exit(exits.USAGE)
    wants_help = not set(HELP).isdisjoint(context.obj or ())
    anywhere = context.invoked_subcommand in {command.__name__ for command in ANYWHERE}
    if url and not anywhere and not wants_help:
        raise typer.BadParameter(
            f"'{context.invoked_subcommand}' works on this machine alone and asks no service: "
            "leave it out, or unset DATASYNC_URL",
            param_hint="--url",
        )
    point_at(url)
    return exits.DONE


app.command()(serve)
app.add_typer(demo, name="demo")
for _command in (*ANYWHERE, verify, top, logs):
    app.command()(_command)
app.command()(doctor)
app.add_typer(config, name="config")
app.add_typer(trash, name="trash")
app.add_typer(keys, name="keys")
app.add_typer(forwarder, name="lambda")
show_examples(app)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Ends in no exception of any kind."""
    _accept_any_character()
    with Termination() as termination:
        try:
            code = _invoke(arguments)
        except KeyboardInterrupt:
            code = exits.INTERRUPTED
        finally:
            close_logging()
    return exits.TERMINATED if termination.came else code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        given = list(arguments)
        result = app(args=given, obj=given, prog_name="datasync", standalone_mode=False)
        sys.stdout.flush()
    except ConfigurationError as error:
        return _refused(error)
    except DataSyncError as error:
        print_error(str(error), in_commands(error.hint))
        return exits.exit_code_of_error(error)
    except typer.TyperException as error:
        return _usage(error)
    except BrokenPipeError:
        silence_stdout()
        return exits.PIPE_CLOSED
    except Exception as error:
        return _unexpected(error)
    return result if isinstance(result, int) else exits.DONE


def _refused(error: ConfigurationError) -> int:
    """Bad settings look the same here as they do when the service is started."""
    from datasync.config.problems import told

    sys.stderr.write(told(error) + "\n")
    return exits.exit_code_of_error(error)


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "datasync"
    print_error(error.format_message(), f"{command} --help")
    return exits.USAGE


def _unexpected(error: Exception) -> int:
    """A fault of ours: the traceback belongs into the log, a line on the screen."""
    where = ""
    if writes_file():
        get_logger(__name__).info("command failed", exc_info=error)  # info: for the file only
        where = "LOG_FILE has the traceback."
    else:
        sys.stderr.write(masked("".join(traceback.format_exception(error))))
    print_error(masked(f"internal error: {type(error).__name__}: {error}"), where)
    return exits.FAILED


def _accept_any_character() -> None:
    """A key that the terminal's encoding lacks is shown escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
