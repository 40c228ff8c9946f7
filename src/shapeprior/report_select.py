"""Which rows of an evaluation a report shows in pictures and in 3D: all would make it too large to open."""

from collections.abc import Sequence
from dataclasses import dataclass

from shapeprior.config import check_numbers
from shapeprior.report_document import PRIOR, EvaluationDocument, Row


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How much a report shows."""

    pictures: int = 40
    """Results of the prior with pictures and 3D, at most: half of them the worst, the others spread evenly over the rest."""
    models: int = 160
    """Results with 3D, at most: those of the prior with pictures, then other methods on the same views."""
    faces: int = 6000
    """Faces of each surface in 3D, at most."""
    points: int = 2500
    """Observed points shown, at most."""
    width: int = 260
    """Pixels across each picture."""
    max_bytes: int = 30_000_000
    """Size of the page that pictures and models may fill it to; what does not fit is left out, and the page says so."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("faces", "points", "width", "max_bytes"),
            not_negative=("pictures", "models"),
        )


def pictured_rows(document: EvaluationDocument, count: int) -> list[Row]:
    """Rows to show in pictures, the worst first.

    Of each group (task and condition) an equal number is taken: those without a mesh are not counted, since their pictures show
    the view and the truth alone, but they are among the worst.
    """
    groups: list[list[Row]] = []
    main = _main_method(document)
    for task, condition in document.groups:
        rows = [row for row in document.rows if (row.task, row.condition, row.method) == (task, condition, main)]
        groups.append(sorted(rows, key=document.badness, reverse=True))
    share = _shares([len(rows) for rows in groups], count)
    chosen = [row for rows, some in zip(groups, share, strict=True) for row in _worst_and_spread(rows, some)]
    return sorted(chosen, key=document.badness, reverse=True)


def companions(document: EvaluationDocument, rows: Sequence[Row]) -> list[Row]:
    """Results of other methods on the views of these rows, in their order."""
    wanted = {(row.id, row.task, row.condition): place for place, row in enumerate(rows)}
    numbers = {row.number for row in rows}
    found = [row for row in document.rows if (row.id, row.task, row.condition) in wanted and row.number not in numbers]
    return sorted(found, key=lambda row: wanted[row.id, row.task, row.condition])


def _main_method(document: EvaluationDocument) -> str:
    return PRIOR if PRIOR in document.methods else next(iter(document.methods), PRIOR)


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """How many of each group, so that no group gets more than another that could use it."""
    shares = [0] * len(sizes)
    while count > 0 and any(share < size for share, size in zip(shares, sizes, strict=True)):
        for group, size in enumerate(sizes):
            if count > 0 and shares[group] < size:
                shares[group] += 1
                count -= 1
    return shares


def _worst_and_spread(rows: Sequence[Row], count: int) -> list[Row]:
    """The first half of `count` from the beginning, the others evenly from what is left, its last one included."""
    if count >= len(rows):
        return list(rows)
    worst = -(-count // 2)
    rest, more = rows[worst:], count - worst
    return [*rows[:worst], *(rest[((step + 1) * len(rest)) // more - 1] for step in range(more))]
