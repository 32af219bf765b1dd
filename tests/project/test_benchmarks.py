"""The benchmarks that compare two ways of doing the same still run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_guarantee_is_compared_with_none() -> None:
    command = [sys.executable, "benchmarks/delivery.py", "--rounds", "1", "--events", "300"]
    env = {**os.environ, "KAFKA_BOOTSTRAP": "in-process"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = re.findall(r"^(with the guarantee|without) +([\d,]+) events/s", done.stdout, re.MULTILINE)
    assert [words for words, _ in rates] == ["with the guarantee", "without"]
    assert all(int(rate.replace(",", "")) > 0 for _, rate in rates)
    assert len(re.findall(r"^ratio by .+ \d+\.\d\d ", done.stdout, re.MULTILINE)) == 2
