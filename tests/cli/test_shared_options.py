"""What every command checks before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from eddyline.cli.shared_options import load_settings
from eddyline.errors import Misconfigured


def test_a_wrong_rule_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "eddyline.toml"
    file.write_text('[[rules]]\nname = "sunny"\nwhen = { weather = "sun" }\nstrategy = "content"\n')
    with pytest.raises(Misconfigured, match=r"rule 'sunny': when\.weather: there is no such condition"):
        load_settings(file)


def test_the_command_line_goes_over_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "eddyline.toml"
    file.write_text("[server]\nport = 1\ncors_origins = ['https://shop.example']\n")
    loaded = load_settings(file, data_dir=tmp_path, port=2)
    assert (loaded.server.port, loaded.server.cors_origins, loaded.data_dir) == (2, ("https://shop.example",), tmp_path)
