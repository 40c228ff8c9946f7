"""Codes of rows, against numpy's own handling of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shapeprior.geometry.mesh import row_codes


@pytest.mark.parametrize("largest", [2, 2**21, 2**61])
@given(data=st.data())
def test_codes_tell_rows_apart_and_keep_their_order(largest: int, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4)))
    rows = data.draw(arrays(np.int64, shape, elements=st.integers(0, largest)))
    _, expected = np.unique(rows, axis=0, return_inverse=True)
    _, found = np.unique(row_codes(rows), return_inverse=True)
    np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))


def test_no_rows() -> None:
    assert row_codes(np.zeros((0, 3), dtype=np.int64)).tolist() == []
