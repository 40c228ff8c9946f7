"""What an evaluation wrote: metrics.json, read and checked, with the paths of its meshes.

Which rows of an evaluation a report shows in pictures and in 3D: all would make it too large to open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from shapeprior.config import check_numbers
from shapeprior.errors import ReportError
from shapeprior.evaluation.summary import COLUMNS
from shapeprior.io.files import MAX_LIST_BYTES, FileSpec

VERSION = 1
_METRICS_FILE = FileSpec(
    error=ReportError,
    expected="an evaluation's metrics",
    advice="write them with `shapeprior evaluate`",
    max_bytes=MAX_LIST_BYTES,
    advice_if_large="evaluate fewer shapes",
)
PARTS = ("all", "seen", "unseen")
"""Parts of the surface that metrics are taken on."""
TASKS = {
    "codes": "Training shapes, from their own codes",
    "full": "Unseen shapes, encoded whole",
    "view": "Unseen shapes, completed from partial views",
}
"""What each task is called."""
PRIOR = "shapeprior"
"""The method that is the prior itself."""
CEILING = "upper bound"
"""The method that knows the truth: it is shown, and is never the best."""
_ROW_TEXTS = ("id", "method", "task")
_ROW_OPTIONAL_TEXTS = ("verdict", "failure", "mesh", "truth", "observation")
_NUMBERS = ("mean", "median", "p90", "low", "high", "count", "failures")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a metric means."""

    text: str
    higher_is_better: bool
    worst: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method's result on one shape under one condition."""

    number: int
    """Its place in the document."""
    id: str
    method: str
    task: str
    condition: str
    """In words; empty if there is only one."""
    metrics: Mapping[str, float | None]
    seconds: float | None
    verdict: str | None
    failure: str | None
    mesh: str | None
    """The completion, the truth and the observation, as paths below the report's folder."""
    truth: str | None
    observation: str | None


@dataclass(frozen=True, kw_only=True)
class SummaryCell:
    """One metric of one method over all shapes of a condition."""

    method: str
    task: str
    condition: str
    part: str
    metric: str
    mean: float | None
    median: float | None
    p90: float | None
    low: float | None
    """From here to `high`: the interval of the mean."""
    high: float | None
    count: int
    failures: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationDocument:
    """metrics.json of an evaluation."""

    folder: Path
    raw: dict[str, Any]
    """As the file holds it."""
    definitions: dict[str, Definition]
    rows: tuple[Row, ...]
    summary: tuple[SummaryCell, ...]
    outcomes: tuple[dict[str, Any], ...]
    """What else the rows say (`shapeprior.evaluation.summary`); conditions in words."""

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were run, the prior first, in the document's order."""
        found = list(dict.fromkeys([*self.raw["methods"], *(row.method for row in self.rows)]))
        ran = {row.method for row in self.rows} | {cell.method for cell in self.summary}
        return tuple(sorted((name for name in found if name in ran), key=lambda name: name != PRIOR))

    @cached_property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """Task and condition of each group of rows that can be compared: partial views first, then in the document's order."""
        keys = dict.fromkeys((cell.task, cell.condition) for cell in (*self.summary, *self.rows))
        return tuple(sorted(keys, key=lambda key: key[0] != "view"))

    @property
    def main_metric(self) -> str:
        """The metric that rows are ordered by."""
        return next(iter(self.definitions))

    def conditions(self, task: str) -> dict[str, dict[str, Any]]:
        """The conditions of a task as the document holds them, by their words."""
        found = [entry["condition"] for entry in self.raw["summary"] if entry["task"] == task]
        return {condition_text(condition): condition for condition in found}

    def badness(self, row: Row) -> tuple[bool, float]:
        """Sorts rows: the largest is the worst, failures before all."""
        definition, value = self.definitions[self.main_metric], row.metrics.get(self.main_metric)
        value = definition.worst if value is None else value
        return row.failure is not None, -value if definition.higher_is_better else value

    def path(self, name: str) -> Path | None:
        """Where a mesh of a row lies; None if the name leads out of the folder or there is no such file."""
        parts = PurePosixPath(name.replace("\\", "/"))
        if not parts.parts or parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            return None
        path = self.folder / parts
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
            return path if inside and path.is_file() else None
        except (OSError, ValueError, RuntimeError):
            return None


def read_evaluation(folder: Path) -> EvaluationDocument:
    """Read metrics.json of an evaluation's folder.

    Raises ReportError if it is missing, too large, not JSON, of another version or lacks what a report shows.
    """
    path = folder / "metrics.json"
    raw = _METRICS_FILE.read_json(path, dict, strict=True)
    try:
        if raw["version"] != VERSION:
            raise ReportError(f"{path}: version {raw['version']!r}; expected {VERSION}; evaluate again")
        definitions = {
            _text(name): Definition(
                text=_text(entry["text"]),
                higher_is_better={"higher": True, "lower": False}[entry["better"]],
                worst=float(entry["worst"]),
                unit=_text(entry["unit"]),
            )
            for name, entry in raw["definitions"].items()
        }
        if not definitions:
            raise ReportError(f"{path}: no definitions; expected at least one metric; evaluate again")
        for entry in raw["methods"].values():
            _text(entry["text"])
            _optional(str, entry["not_run"])
        for key, kind in (("training", list), ("settings", dict), ("machine", dict), ("versions", dict)):
            if not isinstance(raw.setdefault(key, kind()), kind):
                raise TypeError(f"{key} is {type(raw[key]).__name__}")
        for key in ("rows", "summary", "outcomes", "training"):
            wrong = [entry for entry in raw[key] if not isinstance(entry, dict)]
            if wrong:
                raise TypeError(f"{key} holds {wrong[0]!r:.40}")
        return EvaluationDocument(
            folder=folder,
            raw=raw,
            definitions=definitions,
            rows=tuple(_row(number, entry) for number, entry in enumerate(raw["rows"])),
            summary=tuple(_summary_cell(entry) for entry in raw["summary"]),
            outcomes=tuple(_outcome(entry) for entry in raw["outcomes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ReportError(
            f"{path}: broken at {type(error).__name__} {error}; expected what `shapeprior evaluate` writes; evaluate again"
        ) from None


def condition_text(condition: Mapping[str, Any]) -> str:
    """A condition in words, such as "2 views, sensor kinect"."""
    words = []
    for name, value in condition.items():
        if name == "views":
            words.append(f"{value} view" if value == 1 else f"{value} views")
        else:
            words.append(f"{name} {value}")
    return ", ".join(words)


def group_text(task: str, condition: str) -> str:
    """A heading for a task and a condition."""
    return ": ".join(word for word in (TASKS.get(task, task), condition) if word)


def _row(number: int, entry: dict[str, Any]) -> Row:
    for name in ("metrics", "condition"):
        if not isinstance(entry[name], dict):
            raise TypeError(f"rows[{number}].{name} is {type(entry[name]).__name__}")
    return Row(
        number=number,
        condition=condition_text(entry["condition"]),
        metrics={name: _optional(float, value) for name, value in entry["metrics"].items()},
        **{name: _text(entry[name]) for name in _ROW_TEXTS},
        **{name: _optional(str, entry.get(name)) for name in _ROW_OPTIONAL_TEXTS},
        seconds=_optional(float, entry.get("seconds")),
    )


def _summary_cell(entry: dict[str, Any]) -> SummaryCell:
    numbers = {name: _optional(float, entry[name]) for name in _NUMBERS}
    return SummaryCell(
        condition=condition_text(entry["condition"]),
        **{name: _text(entry[name]) for name in ("method", "task", "part", "metric")},
        **{name: numbers[name] for name in _NUMBERS if name not in ("count", "failures")},
        count=int(numbers["count"] or 0),
        failures=int(numbers["failures"] or 0),
    )


def _outcome(entry: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: _optional(int if name == "count" else float, entry[name]) for name in COLUMNS}
    texts = {name: _text(entry[name]) for name in ("method", "task")}
    return {**texts, "condition": condition_text(entry["condition"]), **numbers}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _optional(kind: type[Any], value: object) -> Any:
    """A number or a text, or None."""
    if value is None:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {'number' if kind is float else 'text'}")
    return value


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
