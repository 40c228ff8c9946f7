"""Freed memory stays with the process: pages that were touched once are not faulted in again."""

import ctypes
import subprocess
import sys

import pytest

from shapeprior.parallel.system import tune_malloc

PROGRAM = """
import resource
import numpy as np
from shapeprior.parallel.system import tune_malloc
tune_malloc()
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(1 << 21) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc is asked",
)
def test_blocks_of_the_same_size_find_the_pages_of_the_last_ones() -> None:
    def faults(program: str) -> int:
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return int(found.stdout)

    # 20 turns of 64 MiB are 327,680 pages.
    assert faults(PROGRAM) < 2_000
    assert faults(PROGRAM.replace("tune_malloc()\n", "", 1)) > 20_000


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: pytest.fail("asked a C library"))
    tune_malloc()
