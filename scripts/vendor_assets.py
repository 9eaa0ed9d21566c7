"""Brings the scripts of the pages into the source tree, from npm packages of pinned versions.

    python -m scripts.vendor_assets

Needs npm, and only for a new version: what it brings is committed, so that users need no build
step and pages no other host. A test compares the files with the checksums that are written here.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "datasync/api/dashboard/static/vendor"
MANIFEST = VENDOR / "VENDORED.json"
# Package, version, and of its files those that are wanted: where each is, and its name here.
PACKAGES = (
    ("htmx.org", "2.0.11", {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE"}),
    ("htmx-ext-sse", "2.2.4", {"dist/sse.min.js": "sse.min.js", "LICENSE": "sse.LICENSE"}),
)


def main() -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, dict[str, str]] = {}
    for package, version, wanted in PACKAGES:
        for name, content in _packed(package, version, wanted).items():
            (VENDOR / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            manifest[name] = {"package": package, "version": version, "sha256": digest}
    MANIFEST.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _packed(package: str, version: str, wanted: dict[str, str]) -> dict[str, bytes]:
    """The wanted files of a package, by their names here."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{package}@{version}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as files:
            found = {}
            for inside, name in wanted.items():
                member = files.extractfile(f"package/{inside}")
                assert member is not None, inside
                found[name] = member.read()
            return found


if __name__ == "__main__":
    main()
