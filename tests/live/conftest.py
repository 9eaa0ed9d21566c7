"""Real servers and processes: what they prove is not counted as coverage, which costs a third."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "live":
            item.add_marker(pytest.mark.no_cover)
