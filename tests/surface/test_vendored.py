"""The scripts of the pages are the files of the packages that they are said to be."""

import hashlib
import json
import re

from datasync.api.dashboard.pages import FOLDER
from scripts.vendor_assets import MANIFEST, PACKAGES, VENDOR


def test_each_file_is_the_one_that_was_brought() -> None:
    manifest = json.loads(MANIFEST.read_text())
    assert {path.name for path in VENDOR.iterdir()} == {*manifest, MANIFEST.name}
    for name, told in manifest.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == told["sha256"], name


def test_they_are_of_the_pinned_versions() -> None:
    told = {
        (each["package"], each["version"]) for each in json.loads(MANIFEST.read_text()).values()
    }
    assert told == {(package, version) for package, version, _ in PACKAGES}


def test_no_page_names_another_host_or_has_styles_and_scripts_of_its_own() -> None:
    for path in (FOLDER / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"https?://|//[a-z]+\.", text), path.name
        assert not re.search(
            r"\sstyle=|<style|\son[a-z]+=|<script(?! src=)|javascript:", text
        ), path
        assert "| safe" not in text and "Markup" not in text, path.name
