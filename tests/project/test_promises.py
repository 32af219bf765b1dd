"""tests/README.md: every promise has a test, and `make test` runs it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = [
    line.strip("| ").split("|")
    for line in (TESTS / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "`" in line
]
EXTENDED = "pytest.mark.extended"


@cache
def _in_make_test() -> set[str]:
    """The names of the tests that no mark of the function or its module leaves to `make test-all`."""
    names = set()
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                if EXTENDED in ast.unparse(node.value):
                    break
            elif isinstance(node, ast.FunctionDef) and EXTENDED not in map(ast.unparse, node.decorator_list):
                names.add(node.name)
    return names


def test_every_promise_is_there() -> None:
    assert len(ROWS) > 50


@pytest.mark.slow(20)
@pytest.mark.parametrize(("promise", "held_by"), ROWS, ids=lambda cell: cell.strip()[:60])
def test_a_promise_is_held_by_tests_that_make_test_runs(promise: str, held_by: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", held_by))
    assert named, f"{promise.strip()}: no test is named"
    assert named <= _in_make_test()
