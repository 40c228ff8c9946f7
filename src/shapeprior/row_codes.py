"""Rows of integers as single integers, since sorting those is ten times faster than sorting rows."""

import numpy as np
from jaxtyping import Int

_LARGEST = np.iinfo(np.int64).max


def row_codes(rows: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows"]:
    """An integer for each row of non-negative integers: equal for equal rows, and in the rows' lexicographic order."""
    codes = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        bound = int(column.max(initial=0)) + 1
        if int(codes.max(initial=0)) > (_LARGEST - bound) // bound:
            codes, column = (
                np.unique(part, return_inverse=True)[1].reshape(-1).astype(np.int64) for part in (codes, column)
            )
            bound = len(codes)
        codes = codes * bound + column
    return codes
