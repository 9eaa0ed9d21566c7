"""Makes this checkout usable from the virtual environment that runs this script.

Writes what `pip install -e` would, without a build: a path file, the commands of
`[project.scripts]`, and the distribution's name and version. So nothing has to be downloaded that
the hashed requirement files do not name.
"""

import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -c 'import sys
from {module} import {function}
sys.argv[0] = "{name}"
sys.exit({function}())' "$@"
"""


def main() -> None:
    """Link the project into this environment."""
    if sys.prefix == sys.base_prefix:
        sys.exit("run this with the Python of a virtual environment")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = Path(sysconfig.get_path("purelib"))
    packages.joinpath("datasync.pth").write_text(f"{ROOT}\n")
    write_metadata(packages, project["name"], project["version"])
    for name, entry in project["scripts"].items():
        write_command(Path(sysconfig.get_path("scripts")) / name, name, entry)


def write_metadata(packages: Path, name: str, version: str) -> None:
    """What `importlib.metadata` and `pip list` read of a distribution."""
    stem = name.replace("-", "_")
    for old in packages.glob(f"{stem}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    folder = packages / f"{stem}-{version}.dist-info"
    folder.mkdir()
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    folder.joinpath("METADATA").write_text(header)
    folder.joinpath("INSTALLER").write_text("link_project\n")


def write_command(path: Path, name: str, entry: str) -> None:
    """One console command for `module:function`."""
    module, _, function = entry.partition(":")
    path.unlink(missing_ok=True)
    path.write_text(COMMAND.format(module=module, function=function, name=name))
    path.chmod(0o755)


if __name__ == "__main__":
    main()
