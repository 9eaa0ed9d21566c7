"""`datasync keys`: make keys for API_KEYS, and see which there are."""

from typing import Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json
from datasync.cli.terminal import Column, print_json, print_line, print_table, remark
from datasync.models.access import Role, hashed, is_name

SECRET_BYTES = 32
COLUMNS = (Column("name"), Column("role", "word"), Column("known as", "word"))
NEXT_STEPS = """\
The secret is for the client, as 'Authorization: Bearer <secret>' or 'X-API-Key: <secret>'.
It is shown only now: the service needs no more than the entry, which tells nobody the secret.
Add the entry to API_KEYS, by a comma, or as a line to the file that API_KEYS_FILE names.
A changed file is noticed within seconds; a changed API_KEYS after a restart."""

keys = typer.Typer(help="Keys of the API: make one, list those there are.")


@keys.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Who will use it; appears in the log.")],
    role: Annotated[
        Role,
        typer.Option(
            help="read: every GET. operate: changes as well. notify: events only. admin: all."
        ),
    ],
    json: Json = False,
) -> int:
    """Make a key: a random secret for the client, and the entry for API_KEYS."""
    import secrets

    secret = secrets.token_urlsafe(SECRET_BYTES)
    entry = f"{name}:{hashed(secret)}:{role.value}"
    if not is_name(name):
        raise typer.BadParameter(
            "a name has 1 to 64 letters, digits, dots, dashes or underscores", param_hint="NAME"
        )
    if json:
        print_json({"name": name, "role": role.value, "secret": secret, "entry": entry})
        return exits.DONE
    print_line(f"secret  {secret}")
    print_line(f"entry   {entry}")
    for line in NEXT_STEPS.splitlines():
        remark(line)
    return exits.DONE


@keys.command("list")
def list_keys(json: Json = False) -> int:
    """List the keys of API_KEYS or API_KEYS_FILE: names and roles, never secrets."""
    from datasync.config.loading import load_settings

    found = [
        {"name": key.name, "role": key.role.value, "known_as": "secret" if key.secret else "hash"}
        for key in load_settings().access_keys
    ]
    if json:
        print_json({"keys": found})
    else:
        print_table(COLUMNS, [list(each.values()) for each in found])
        if not found:
            remark("No keys: only programs on this machine are let in.")
    return exits.DONE
