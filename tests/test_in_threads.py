"""Parts of work in threads: in order, as many as are wanted, faults passed on."""

import threading

import pytest

from shapeprior import in_threads as module
from shapeprior.in_threads import MOST, in_threads


def threads_used(monkeypatch: pytest.MonkeyPatch, stated: str | None, parts: int, usable: int = 64) -> int:
    """How many threads have work at once, each waiting until so many have or no more come."""
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    if stated is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
    expected, busy, lock = threading.Event(), set(), threading.Lock()

    def work(part: int) -> int:
        with lock:
            busy.add(threading.get_ident())
            if len(busy) == MOST:
                expected.set()
        expected.wait(0.2)
        return 2 * part

    assert in_threads(work, range(parts)) == [2 * part for part in range(parts)]
    return len(busy)


@pytest.mark.parametrize(
    ("stated", "parts", "usable", "expected"),
    [
        (None, 8, 64, MOST), ("1", 8, 64, 1), ("2", 8, 64, 2), ("64", 8, 64, MOST), ("many", 8, 64, MOST), ("0", 8, 64, MOST),
        (None, 1, 64, 1), (None, 8, 1, 1), ("8", 8, 2, 2),
    ],
)  # fmt: skip
def test_as_many_threads_as_numerical_libraries_use(
    monkeypatch: pytest.MonkeyPatch, stated: str | None, parts: int, usable: int, expected: int
) -> None:
    assert threads_used(monkeypatch, stated, parts, usable) == expected


def test_no_parts_need_no_thread() -> None:
    assert in_threads(len, []) == []


def test_a_fault_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, [1, 0, 2])
