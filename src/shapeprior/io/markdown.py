"""Tables in Markdown, as GitHub and model hubs render them.

Cells may come from file names and error messages. `table` keeps every such text inside its own cell.
"""

import re
from collections.abc import Iterable, Sequence

from shapeprior.errors import one_line

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RULES = {"l": "---", "r": "---:", "c": ":---:"}
"""The mark under the heading that aligns a column, by its letter."""


def cell(text: str) -> str:
    """Return the text as it may stand in a cell of a table.

    Line breaks become spaces, bars are escaped, and control characters (of terminal colours, for example) become
    U+FFFD.
    """
    return _CONTROL_CHARACTERS.sub("\ufffd", one_line(text)).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, align: str | None = None) -> list[str]:
    """Return the lines of a table. The texts of `head` and `rows` are escaped by `cell`.

    Args:
        head: Titles of the columns.
        rows: One text for each column.
        align: One letter for each column: l (left), r (right) or c (centred). All columns are left-aligned by default.

    Raises:
        ValueError: If `align` or a row has another number of columns than `head`.
    """
    align = "l" * len(head) if align is None else align
    if len(align) != len(head):
        raise ValueError(f"align = {align!r}; expected one letter for each of {len(head)} columns")
    lines = [_line(map(cell, head)), _line(_RULES[letter] for letter in align)]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"a row of {len(row)} cells; expected one for each of {len(head)} columns")
        lines.append(_line(map(cell, row)))
    return lines


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
