"""One running Eddyline for all pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.docs.pages import EXPERIMENTS, ROOT, TUTORIAL, blocks, steps
from tests.docs.shell import STATUS, Shell
from tests.support.system import eddyline


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside an Eddyline that has docs/http-api.md's settings, docs/experiments.md's experiments and the
    tutorial's items."""
    curl, bash = shutil.which("curl"), shutil.which("bash")
    if curl is None or bash is None:
        pytest.skip("the pages' examples need curl and bash")
    folder = tmp_path_factory.mktemp("docs")
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "curl"
    wrapper.write_text(
        f"#!{bash}\n"
        f"exec {curl} --silent --show-error"
        f" --write-out '\\n%{{stderr}}\\n{STATUS}%{{http_code}} %{{content_type}}\\n' \"$@\"\n"
    )
    wrapper.chmod(0o755)
    (settings,) = (block for block in blocks(ROOT / "docs" / "http-api.md") if block.language == "toml")
    (folder / "eddyline.toml").write_text(settings.text, encoding="utf-8")
    written = folder / "experiments.toml"
    (tried,) = (block for block in blocks(ROOT / "docs" / "experiments.md") if EXPERIMENTS in block.info)
    written.write_text(tried.text, encoding="utf-8")
    env = {"EDDYLINE_EXPERIMENTS_FILE": str(written)}
    options = ("--config", str(folder / "eddyline.toml"), "--data-dir", str(folder / "data"))
    with eddyline("up", *options, log=folder / "log.txt", env=env) as running:
        shell = Shell(running.url, folder)
        catalogue = next(steps(TUTORIAL)).shell
        assert shell.run(catalogue.text).statuses[0][0] == 202, f"{catalogue.where} must load the items"
        for item_id in ("eddies", "milkyway"):
            running.await_item(item_id)
        yield shell
