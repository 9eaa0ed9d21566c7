"""`datasync keys`: what it prints is taken by the service, and shows no secret later."""

import pytest

from datasync.models.access import Role, api_keys, digest_of
from tests.support.command_line import CommandLine


def test_a_new_key_is_an_entry_that_its_secret_fits(command_line: CommandLine) -> None:
    made = command_line("keys", "new", "grafana", "--role", "read", "--json")
    assert made.code == 0
    (key,) = api_keys([made.json["entry"]])
    assert (key.name, key.role) == ("grafana", Role.READ)
    assert key.digest == digest_of(made.json["secret"])
    assert made.json["secret"] not in made.json["entry"]
    again = command_line("keys", "new", "grafana", "--role", "read", "--json")
    assert again.json["secret"] != made.json["secret"]


def test_a_reader_gets_two_lines_and_what_to_do_with_them(command_line: CommandLine) -> None:
    made = command_line("keys", "new", "ci", "--role", "notify")
    secret, entry = made.out.splitlines()
    assert secret.startswith("secret  ") and entry.startswith("entry   ci:sha256-")
    assert "shown only now" in made.err and "API_KEYS_FILE" in made.err


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "n" * 65])
def test_a_name_that_an_entry_cannot_have_is_wrong_usage(
    command_line: CommandLine, name: str
) -> None:
    refused = command_line("keys", "new", name, "--role", "read")
    assert refused.code == 64 and "letters, digits" in refused.err


def test_the_list_names_keys_and_roles_and_no_secret(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_line("keys", "list", "--json").json == {"keys": []}
    hashed = command_line("keys", "new", "ci", "--role", "notify", "--json").json["entry"]
    monkeypatch.setenv("API_KEYS", f"ops:a-plain-secret:operate,{hashed}")
    listed = command_line("keys", "list")
    assert listed.out.splitlines() == ["ops\toperate\tsecret", "ci\tnotify\thash"]
    assert "a-plain-secret" not in listed.out + listed.err
