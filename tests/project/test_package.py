"""What is shipped: the wheel's contents, and where the locked packages come from."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.slow(20)
def test_the_wheel_holds_the_package_and_its_licence_alone(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    (wheel,) = tmp_path.glob("*.whl")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    information = f"eddyline-{version}.dist-info/"
    assert {name.split("/")[0] + "/" for name in names} == {"eddyline/", information}
    assert f"{information}licenses/LICENSE" in names
    assert "eddyline/py.typed" in names
    assert {f"eddyline/adapters/http/assets/{name}" for name in ("home.html", "console.html", "eddyline.js")} <= names
    assert not [name for name in names if name.endswith((".csv", ".pyc"))]


def test_locked_packages_come_from_the_public_index() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert set(re.findall(r"[a-z+]+://([^/\"]+)", lock)) == {"pypi.org", "files.pythonhosted.org"}


def test_the_licence_is_apache_2() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert licence.rstrip().endswith("limitations under the License.")
