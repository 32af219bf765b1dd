"""`eddyline experiments`: the file checked, and who gets what."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.services.reading import stocked
from tests.services.test_reader_experiments import ALL, FILE, HERE, someone, trying
from typer.testing import CliRunner

from eddyline.cli.commands import app
from eddyline.errors import InvalidInput, Misconfigured, Unavailable
from eddyline.runtime import connections as opening
from eddyline.runtime import resources
from eddyline.runtime.process import Runtime
from eddyline.settings import Settings

ROOT = Path(__file__).parents[2]


def said(*arguments: str) -> str:
    """What the command prints; raises what it raises."""
    result = CliRunner().invoke(app, ["experiments", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the settings."""
    path = tmp_path / "experiments.toml"
    path.write_text(FILE.replace('strategy = "kitchens"', 'strategy = "trending"'))
    monkeypatch.setenv("EDDYLINE_EXPERIMENTS_FILE", str(path))
    return path


def test_a_file_is_printed_as_a_table() -> None:
    shown = said("check", str(ROOT / "examples" / "experiments.toml"))
    for word in ("diversity", "diverse", "25.0%", "ctr < 0.02 a hour", "affinity = 1.5, popularity = 0.2", "runs"):
        assert word in shown


def test_the_settings_file_is_the_one_that_is_checked(file: Path) -> None:
    shown = said("check")
    assert "external: another system" in shown
    assert "is over" in shown
    file.write_text("[[experiment]]\n")
    with pytest.raises(Misconfigured, match="experiment number 1, name: is needed"):
        said("check")
    file.unlink()
    assert "so no experiments run" in said("check")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no file"):
        said("check", str(tmp_path / "nope.toml"))


def test_who_gets_what_is_read_from_the_store(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = stocked(HERE)
    visitor = someone("outside", "theirs", "a")
    shop.did(f"a:{visitor}", "space1", ago=30)
    shop.identify(visitor, "ada")
    monkeypatch.setattr(opening, "open_store", lambda _: shop.store)
    monkeypatch.setattr(shop.store, "close", lambda: None)
    outside = ALL.named("outside")
    assert outside is not None
    line = f"outside/theirs (revision {outside.revision}); another system makes the list\n"
    assert said("who", "ada", "--surface", "shop") == line
    assert said("who", "--anonymous", visitor, "--surface", "shop") == line
    assert said("who", "ada") == "in no experiment: the usual list\n"
    assert file.exists()


def test_a_running_reader_is_asked() -> None:
    with trying() as it:
        url, person = str(it.shop.client.base_url), someone("home", "kitchens")
        assert said("who", person, "--surface", "home", "--url", url).startswith("home/kitchens (revision ")
        with pytest.raises(InvalidInput, match="user_id"):
            said("who", "", "--url", url)
    with pytest.raises(Unavailable, match="can't be reached"):
        said("who", person, "--url", "http://127.0.0.1:1")


def test_somebody_must_be_named() -> None:
    with pytest.raises(Misconfigured, match="name a user"):
        said("who")


def test_a_wrong_file_refuses_the_start_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "experiments.toml"
    wrong.write_text("[[experiment]]\n")
    monkeypatch.setattr(resources, "open_store", lambda _: stocked().store)
    settings = Settings.model_validate({"qdrant": {"url": "http://nowhere"}, "experiments_file": str(wrong)})
    with pytest.raises(Misconfigured, match="experiment number 1, name: is needed"):
        Runtime(settings, ["reader"])
