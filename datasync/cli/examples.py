"""One example for each command, shown below its help. A test reads every one of them."""

import typer

EXAMPLES = {
    "serve": "datasync serve --host 0.0.0.0 --port 8888",
    "sync": "datasync sync --prefix 2026/11/",
    "plan": "datasync plan --prefix 2026/11/ --json",
    "verify": "datasync verify --prefix models/",
    "status": "datasync status || echo 'not in sync'",
    "files": "datasync files --prefix logs/ --state failed --state stale",
    "failures": "datasync failures --json",
    "retry": "datasync retry logs/a.txt",
    "runs": "datasync runs 12",
    "approve": "datasync approve 12",
    "cancel": "datasync cancel 12",
    "top": "datasync top --once",
    "logs": "datasync logs --follow --level warning",
    "doctor": "datasync doctor --canary",
    "config check": "datasync config check && systemctl restart datasync",
    "config show": "datasync config show --changed",
    "trash list": "datasync trash list --why run-12",
    "trash restore": "datasync trash restore --run 12 --prefix raw/",
    "keys new": "datasync keys new grafana --role read",
    "keys list": "datasync keys list --json",
    "lambda package": "datasync lambda package --output forwarder.zip",
    "demo put": "datasync demo put hello.txt 'Hello, world'",
    "demo env": 'eval "$(datasync demo env)"',
}


def show_examples(app: typer.Typer, path: str = "") -> None:
    """Put the example of every command of `app`, and of the groups in it, below its help."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        command.epilog = f"Example: {EXAMPLES[path + name]}"
    for group in app.registered_groups:
        assert group.typer_instance is not None
        show_examples(group.typer_instance, f"{path}{group.name} ")
