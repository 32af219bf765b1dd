"""CONTRIBUTING.md leads to files that are there, and what the house forbids stays out of it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "services" / "eddyline"
ROWS = re.findall(
    r"^\| ([^|]+) \| `(services/[\w/.]+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
)
NOUNS = {"forwarding", "framing", "imaging", "listing", "onboarding", "pending", "ranking", "reporting"}
"""Words in -ing that name a thing in this field."""
PRONOUNS = {"It", "Its", "They", "Their", "This", "These", "That", "Those", "He", "She", "Who", "Whose", "Of"}


def test_twenty_changes_have_a_place() -> None:
    assert len(ROWS) == 20


@pytest.mark.parametrize(("change", "file"), ROWS)
def test_a_change_is_made_in_a_file_that_is_there(change: str, file: str) -> None:
    assert (ROOT / file).is_file(), f"{change}: {file} is not there"


def test_no_public_class_name_means_two_things() -> None:
    modules = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def test_modules_are_named_by_nouns() -> None:
    paths = list(PACKAGE.rglob("*.py"))
    names = {path.stem for path in paths} | {path.parent.name for path in paths}
    assert {name for name in names if name.endswith("ing")} - NOUNS == set()


def test_no_public_docstring_begins_with_a_pronoun() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                first = (ast.get_docstring(node) or "-").split()[0].rstrip(",.:")
                if first in PRONOUNS:
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {first}")
    assert wrong == []
