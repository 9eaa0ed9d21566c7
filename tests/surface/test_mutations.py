"""The mutations of `tests/mutations/` are up to date; `make soak` shows that tests notice them."""

import ast
from collections import Counter

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_text_is_found_once_and_its_tests_exist(mutation: Mutation) -> None:
    broken = mutation.applied_to((ROOT / mutation.source).read_text("utf-8"))
    ast.parse(broken)
    for test in mutation.tests:
        file, *names = test.split("::")
        beside = (ROOT / "tests" / file).parent.glob("*.py")  # it may be inherited
        assert (ROOT / "tests" / file).is_file()
        assert not names or any(f"def {names[-1]}(" in each.read_text("utf-8") for each in beside)


def test_every_promise_is_broken_in_at_least_two_ways() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 20
    promises = Counter(mutation.promise for mutation in MUTATIONS)
    assert min(promises[promise] for promise in range(1, 8)) >= 2
