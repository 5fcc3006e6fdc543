"""A pool that is larger than memory (R11): what a run holds does not grow with the pool."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from conftest import ROOT

BYTES_PER_SAMPLE = 1_500  # ids, texts and labels; features alone would be 2,500 here, predictions and terms as much


@pytest.mark.slow
def test_a_pool_three_times_as_large_takes_hardly_more_memory() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "pool_memory.py"), "--samples", "22000", "66000"]
    result = subprocess.run([*command, "--candidates", "5000"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    grown = re.search(r"^(-?\d+) bytes", result.stdout, re.MULTILINE)
    assert grown
    assert int(grown[1]) < BYTES_PER_SAMPLE, result.stdout
