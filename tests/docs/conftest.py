"""Documents: what they prove is not counted as coverage, and a page may take its time."""

import fcntl
import os

import pytest

from tests.docs.site import Site, build, read


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "docs":
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site of this checkout, built strictly."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one build serves all workers
        shared = shared.parent
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "site").exists():
            done = build(shared / "site.new")
            assert done.returncode == 0, done.stderr
            (shared / "site.new").rename(shared / "site")
    return read(shared / "site")
