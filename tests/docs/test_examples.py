"""Every example of the documentation is run, or says why it can't be."""

from __future__ import annotations

import ast
import re
import time
import tomllib
from pathlib import Path

import pytest
from tests.docs import shapes
from tests.docs.pages import EXPERIMENTS, KEYS, ROOT, TUTORIAL, Block, Step, blocks, pages, steps
from tests.docs.shell import Answer, Shell

from eddyline.model import events
from eddyline.model.experiments import definitions as experiments
from eddyline.model.rules import RuleSet
from eddyline.settings import KeyFile, Settings

WITHIN_SECONDS = 15.0
WRITES = re.compile(r"-X |/v1/events\b|/v1/items(/availability)? ")
MODEL = re.compile(r'\bmodel="(?P<name>\w+)"')
LANGUAGES = {"sh", "json", "toml", "python", "javascript", "html", "text"}


def _all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.process
@pytest.mark.xdist_group("docs")
@pytest.mark.slow(30)
@pytest.mark.parametrize("page", [page for page in pages() if any(steps(page))], ids=_name)
def test_a_page_does_what_it_shows(page: Path, shell: Shell) -> None:
    wrong = [problem for step in steps(page) for problem in _run(step, shell)]
    assert not wrong, "\n".join(wrong)


def test_an_example_that_does_not_run_says_why() -> None:
    shells = [block for block in _all_blocks() if block.language == "sh"]
    assert len([block for block in shells if block.skip is None]) >= 20
    for block in shells:
        assert block.skip is None or len(block.skip.split()) >= 2, f"{block.where}: skip needs a reason"


def test_every_block_has_a_known_language() -> None:
    for block in _all_blocks():
        assert block.language in LANGUAGES, f"{block.where}: {block.info!r}"


@pytest.mark.parametrize("block", [b for b in _all_blocks() if b.language == "toml"], ids=lambda block: block.where)
def test_settings_and_experiments_shown_are_such(block: Block) -> None:
    if EXPERIMENTS in block.info:
        assert len(experiments.parse_experiments(block.text, Settings(), block.where))
    elif KEYS in block.info:
        assert KeyFile(**tomllib.loads(block.text)).keys
    else:
        RuleSet.from_settings(Settings(**tomllib.loads(block.text)))


@pytest.mark.parametrize("block", [b for b in _all_blocks() if b.language == "python"], ids=lambda block: block.where)
def test_python_shown_is_python(block: Block) -> None:
    ast.parse(block.text, block.where)


@pytest.mark.parametrize("block", [b for b in _all_blocks() if MODEL.search(b.info)], ids=lambda block: block.where)
def test_a_record_shown_is_one(block: Block) -> None:
    named = MODEL.search(block.info)
    assert named is not None
    events.parse_event(getattr(events, named["name"]), block.text.encode())


def test_json_shown_is_json() -> None:
    for block in _all_blocks():
        if block.language == "json":
            try:
                shapes.read(block.text)
            except ValueError as error:
                pytest.fail(f"{block.where}: {error}")


@pytest.mark.parametrize(
    ("shown", "real", "right"),
    [
        ('{"a": 1, …}', {"a": 1, "b": 2}, True),
        ('{"a": 1}', {"a": 1, "b": 2}, False),
        ('{"a": 1, …}', {"b": 2}, False),
        ('{"a": "…"}', {"a": "anything"}, True),
        ('{"a": "…"}', {"a": None}, False),
        ('{"a": 0.5}', {"a": 0.7}, True),
        ('{"a": 2}', {"a": 3}, False),
        ('{"a": true}', {"a": 1}, False),
        ('[{"x": 1}, …]', [{"x": 1}, {"x": 2}], True),
        ('[{"x": 1}]', [{"x": 1}, {"x": 2}], False),
        ("[…]", [], True),
    ],
)
def test_what_is_shown_is_compared_with_what_comes(shown: str, real: object, right: bool) -> None:
    assert (shapes.differences(shapes.read(shown), real) == []) is right


def _run(step: Step, shell: Shell) -> list[str]:
    """What is wrong with a step. Reads are repeated until they show what was written before, within a limit."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        wrong = _problems(step, shell.run(step.shell.text))
        if not wrong or WRITES.search(step.shell.text) or time.monotonic() > deadline:
            return [f"{step.shell.where}: {problem}" for problem in wrong]
        time.sleep(0.05)


def _problems(step: Step, answer: Answer) -> list[str]:
    if answer.code != 0:
        return [f"exit {answer.code}: {answer.errors[-500:]}"]
    if step.answer is None:
        return [f"status {status}: {answer.last_line}" for status, _ in answer.statuses if status >= 300]
    shown = shapes.read(step.answer.text)
    try:
        wrong = shapes.differences(shown, shapes.read(answer.last_line))
    except ValueError:
        return [f"no JSON: {answer.output[-500:]!r}"]
    status, kind = answer.statuses[-1] if answer.statuses else (0, "")
    wanted = shown.get("status") if isinstance(shown, dict) and isinstance(shown.get("status"), int) else None
    if wanted is None:
        wanted = 202 if isinstance(shown, dict) and "accepted" in shown else 200
    elif kind != "application/problem+json":
        wrong.append(f"content type {kind}")
    if status and status != wanted:
        wrong.append(f"status {status}, not {wanted}")
    return wrong


def test_the_tutorial_comes_first() -> None:
    assert pages()[0] == TUTORIAL
