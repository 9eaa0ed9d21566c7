"""YAML as plain values. A key that is there twice is a mistake, which PyYAML would not tell."""

from pathlib import Path
from typing import Any

import yaml


class _Strict(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses doubled keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        assert len(names) == len(set(names)), f"{node.start_mark}: {names}"
        return super().construct_mapping(node, deep)


def documents(path: Path) -> list[Any]:
    """Every document of a file."""
    return list(yaml.load_all(path.read_text(encoding="utf-8"), _Strict))


def document(path: Path) -> Any:
    """The only document of a file."""
    (only,) = documents(path)
    return only
