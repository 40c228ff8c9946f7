"""Tables in HTML, for the pages of an evaluation and of the reproduction.

The functions take the content of cells as HTML: escape texts that come from files with `html.escape` first.
The classes of cells and tables are those of `assets/report/report.css`.
"""

from collections.abc import Iterable
from html import escape
from typing import Literal


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *, caption: str | None = None, kind: str = "") -> str:
    """Return a table that scrolls sideways where the screen is narrow.

    Args:
        head: The cells of the first row, made by `column_heading`.
        rows: The cells of each row, made by `row_heading`, `number_cell` and `cell`.
        caption: A text above the table.
        kind: The class of the table.
    """
    attributes = f' class="{kind}"' if kind else ""
    title = f"<caption>{escape(caption)}</caption>" if caption is not None else ""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll"><table{attributes}>{title}<thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def column_heading(content: str, *attributes: str) -> str:
    """Return the heading of a column."""
    return cell(content, "scope=col", *attributes, tag="th")


def row_heading(content: str) -> str:
    """Return the heading of a row, its first cell."""
    return cell(content, "scope=row", tag="th")


def number_cell(content: str, *attributes: str, kind: str = "n") -> str:
    """Return a cell whose content is aligned to the right."""
    return cell(content, f'class="{kind}"', *attributes)


def cell(content: str, *attributes: str, tag: Literal["td", "th"] = "td") -> str:
    """Return a cell with some attributes, each as it stands in HTML, such as `title="..."`."""
    return f"<{' '.join((tag, *attributes))}>{content}</{tag}>"
