"""Work on arrays, part by part, in as many threads as numerical libraries use here: numpy lets go of the interpreter meanwhile."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")

MOST = 4
"""Threads; more of them wait for memory, and for each other."""


def in_threads(function: Callable[[Part], Made], parts: Iterable[Part]) -> list[Made]:
    """What a function makes of each part, in their order; no call may change what another one reads.

    OMP_NUM_THREADS bounds the threads, as it does for torch, so that processes beside each other can have one each.
    """
    parts = list(parts)
    threads = min(_threads(), MOST, len(parts))
    if threads < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))


def _threads() -> int:
    stated = os.environ.get("OMP_NUM_THREADS", "")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(stated), usable) if stated.isdigit() and int(stated) > 0 else usable
