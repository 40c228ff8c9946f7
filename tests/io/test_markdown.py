"""Tables in Markdown: texts from files stay in their cells."""

import pytest

from shapeprior.errors import one_line
from shapeprior.io.markdown import cell, table


def test_a_table_has_a_heading_a_rule_and_a_line_for_each_row() -> None:
    rows = [("mug", "0.5", "3"), ("bowl", "0.25", "12")]
    assert table(("shape", "iou", "views"), rows, align="lrc") == [
        "| shape | iou | views |",
        "| --- | ---: | :---: |",
        "| mug | 0.5 | 3 |",
        "| bowl | 0.25 | 12 |",
    ]
    assert table(("a", "b"), [])[1] == "| --- | --- |"


def test_texts_stay_in_their_cells() -> None:
    assert one_line(" two\r\n\tlines\u2028and more ") == "two lines and more"
    assert cell("no surface | NaN\nexpected one") == "no surface \\| NaN expected one"
    assert cell("\x1b[31mred\x00") == "\ufffd[31mred\ufffd"
    assert table(("a|b",), [("c\nd",)]) == ["| a\\|b |", "| --- |", "| c d |"]


def test_rows_and_alignments_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one letter for each of 2 columns"):
        table(("a", "b"), [], align="l")
    with pytest.raises(ValueError, match="a row of 1 cells; expected one for each of 2 columns"):
        table(("a", "b"), [("c",)])
