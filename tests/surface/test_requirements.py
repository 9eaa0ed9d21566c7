"""The hashed requirement files hold exactly what poetry.lock holds for their groups."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "requirements-service.txt": frozenset({"main"}),
    "requirements.txt": frozenset({"main", "demo"}),
    "requirements-dev.txt": frozenset({"main", "demo", "dev"}),
}
# The machines DataSync runs on, for judging markers.
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.1"}
    | {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    | {"platform_machine": machine}
    for version in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]


@cache
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "poetry.lock").read_text())


# A package may be there twice, each version for other Pythons.
Pinned = tuple[str, str]


@cache
def entries(name: str) -> dict[Pinned, tuple[Requirement, set[str]]]:
    """Package name and version -> requirement and hashes, as the file says."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found: dict[Pinned, tuple[Requirement, set[str]]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        assert not line.startswith(("-", "#")), f"{name} holds an option: {line}"
        requirement, *hashes = re.split(r"\s+--hash=", line)
        parsed = Requirement(requirement)
        pinned = (canonicalize_name(parsed.name), str(parsed.specifier).removeprefix("=="))
        assert pinned not in found, f"{parsed.name} is there twice"
        found[pinned] = (parsed, set(hashes))
    return found


@cache
def locked(groups: frozenset[str]) -> dict[Pinned, dict[str, Any]]:
    """The lock's packages of these groups. `packages` of the lock name all, unlike markers."""
    return {
        (canonicalize_name(package["name"]), package["version"]): package
        for package in lock()["package"]
        if groups & set(package["groups"])
    }


def marker_of(package: dict[str, Any], groups: frozenset[str]) -> list[Marker]:
    """The lock's marker: one for all groups, or one a group; none means everywhere."""
    markers = package.get("markers", "")
    if isinstance(markers, str):
        return [Marker(markers)] if markers else []
    present = [markers.get(group, "") for group in package["groups"] if group in groups]
    return [] if "" in present else [Marker(text) for text in present]


@pytest.fixture(params=sorted(FILES))
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_packages_and_versions_are_the_locks(file: str) -> None:
    assert set(entries(file)) == set(locked(FILES[file]))


def test_the_hashes_are_the_locks(file: str) -> None:
    hashes = {
        name: {each["hash"] for each in package["files"]}
        for name, package in locked(FILES[file]).items()
    }
    assert {name: entry[1] for name, entry in entries(file).items()} == hashes
    assert all(hashes.values())


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_the_markers_mean_the_locks(file: str, environment: dict[str, str]) -> None:
    installed: list[str] = []
    for pinned, (requirement, _) in entries(file).items():
        markers = marker_of(locked(FILES[file])[pinned], FILES[file])
        wanted = not markers or any(marker.evaluate(environment) for marker in markers)
        given = requirement.marker is None or requirement.marker.evaluate(environment)
        assert given == wanted, pinned
        installed += [pinned[0]] * given
    assert len(installed) == len(set(installed))


def test_no_file_names_an_index(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert "index" not in re.sub(r"[a-z]+-?index[a-z-]*==", "", text)


@pytest.mark.parametrize("recipe", ["Makefile", "Dockerfile"])
def test_a_file_is_installed_as_it_is(recipe: str) -> None:
    """Else a release that came out later is taken where one package asks for another's extra."""
    lines = (ROOT / recipe).read_text().splitlines()
    installs = [line for line in lines if re.search(r"(pip|\$\(PIP\)) install .*-r ", line)]
    assert installs
    assert all("--no-deps" in line and "--require-hashes" in line for line in installs)


def test_each_set_is_part_of_the_next() -> None:
    service, demo, dev = (entries(name).keys() for name in FILES)
    assert service < demo < dev
    assert "ministack" in {name for name, _ in demo - service}


def test_the_image_holds_the_service_only() -> None:
    steps = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"requirements[\w-]*\.txt", steps) == ["requirements-service.txt"] * 2


def test_the_direct_dependencies_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = [Requirement(text) for text in project["project"]["dependencies"]]
    present = entries("requirements-service.txt")
    for requirement in direct:
        versions = [at for name, at in present if name == canonicalize_name(requirement.name)]
        assert versions and all(map(requirement.specifier.contains, versions)), requirement.name


def test_every_direct_dependency_is_named_in_a_decision() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = {Requirement(text).name for text in project["project"]["dependencies"]}
    for group in project["tool"]["poetry"]["group"].values():
        direct |= set(group["dependencies"])
    decision = (ROOT / "docs/decisions/0005-libraries.md").read_text(encoding="utf-8")
    assert direct - set(re.findall(r"[\w-]+", decision)) == set()
