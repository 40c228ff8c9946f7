"""metrics.json of an evaluation, read and checked, and the rows of it that a report shows in pictures and in 3D.

Pictures and surfaces of all rows would make the page too large to open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from shapeprior.config import check_numbers
from shapeprior.errors import ReportError
from shapeprior.evaluation.config import PRIOR_METHOD
from shapeprior.evaluation.metrics import Better, badness
from shapeprior.evaluation.result_files import FORMAT_VERSION
from shapeprior.evaluation.summary import OUTCOME_TITLES
from shapeprior.io.files import MAX_LIST_BYTES, FileSpec

_METRICS_FILE = FileSpec(
    error=ReportError,
    expected="an evaluation's metrics",
    advice="write them with `shapeprior evaluate`",
    max_bytes=MAX_LIST_BYTES,
    advice_if_large="evaluate fewer shapes",
)
TASK_TITLES = {
    "codes": "Training shapes, from their own codes",
    "full": "Unseen shapes, encoded whole",
    "view": "Unseen shapes, completed from partial views",
}
"""The title of each task on the page."""
_BETTER: dict[str, Better] = {better: better for better in get_args(Better)}
_ROW_TEXTS = ("id", "method", "task")
_ROW_OPTIONAL_TEXTS = ("verdict", "failure", "mesh", "truth", "observation")
_NUMBERS = ("mean", "median", "p90", "low", "high", "count", "failures")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The definition of a metric."""

    text: str
    better: Better
    worst: float
    unit: str

    @property
    def arrow(self) -> str:
        """A sign for the better values."""
        return {"higher": "↑", "lower": "↓", "one": "→ 1"}[self.better]

    def badness(self, value: float) -> float:
        """Return a number that is the lower, the better the value is."""
        return badness(self.better, value)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of one method on one shape under one condition."""

    number: int
    """Index of the row in the document."""
    id: str
    method: str
    task: str
    condition: str
    """The condition in words; empty for tasks without conditions."""
    metrics: Mapping[str, float | None]
    seconds: float | None
    verdict: str | None
    failure: str | None
    mesh: str | None
    """File of the predicted mesh, below the report's folder. `truth` and `observation` are such files, too."""
    truth: str | None
    observation: str | None


@dataclass(frozen=True, kw_only=True)
class SummaryCell:
    """The statistics of one metric of one method over all shapes of a condition."""

    method: str
    task: str
    condition: str
    part: str
    metric: str
    mean: float | None
    median: float | None
    p90: float | None
    low: float | None
    """Lower end of the mean's interval; `high` is the upper end."""
    high: float | None
    count: int
    failures: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationDocument:
    """The content of an evaluation's metrics.json."""

    folder: Path
    raw: dict[str, Any]
    """The JSON of the file."""
    definitions: dict[str, Definition]
    rows: tuple[Row, ...]
    summary: tuple[SummaryCell, ...]
    outcomes: tuple[dict[str, Any], ...]
    """The entries of `shapeprior.evaluation.summary.summarize_outcomes`, with conditions in words."""

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were run: the prior first, then in the document's order."""
        found = list(dict.fromkeys([*self.raw["methods"], *(row.method for row in self.rows)]))
        ran = {row.method for row in self.rows} | {cell.method for cell in self.summary}
        return tuple(sorted((name for name in found if name in ran), key=lambda name: name != PRIOR_METHOD))

    @cached_property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """Tasks and conditions whose rows can be compared: partial views first, then in the document's order."""
        keys = dict.fromkeys((cell.task, cell.condition) for cell in (*self.summary, *self.rows))
        return tuple(sorted(keys, key=lambda key: key[0] != "view"))

    @property
    def main_metric(self) -> str:
        """Name of the metric that orders the rows."""
        return next(iter(self.definitions))

    def conditions(self, task: str) -> dict[str, dict[str, Any]]:
        """Return the conditions of a task as the document holds them, by their words."""
        found = [entry["condition"] for entry in self.raw["summary"] if entry["task"] == task]
        return {condition_text(condition): condition for condition in found}

    def error_key(self, row: Row) -> tuple[bool, float]:
        """Return a key that sorts rows from the best to the worst, with failures last."""
        definition, value = self.definitions[self.main_metric], row.metrics.get(self.main_metric)
        value = definition.worst if value is None else value
        return row.failure is not None, definition.badness(value)

    def path(self, name: str) -> Path | None:
        """Return the path of a file that a row names, or None if it is missing or outside the folder."""
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
    """Read the metrics.json of an evaluation's folder.

    Raises ReportError if it is missing, too large, not JSON, of another version, or lacks something that a report
    shows.
    """
    path = folder / "metrics.json"
    raw = _METRICS_FILE.read_json(path, dict, strict=True)
    try:
        if raw["version"] != FORMAT_VERSION:
            raise ReportError(f"{path}: version {raw['version']!r}; expected {FORMAT_VERSION}; evaluate again")
        definitions = {
            _text(name): Definition(
                text=_text(entry["text"]),
                better=_BETTER[entry["better"]],
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
            f"{path}: broken at {type(error).__name__} {error}; expected what `shapeprior evaluate` writes; "
            "evaluate again"
        ) from None


def condition_text(condition: Mapping[str, Any]) -> str:
    """Return a condition in words, such as "2 views, sensor poor"."""
    words = []
    for name, value in condition.items():
        if name == "views":
            words.append(f"{value} view" if value == 1 else f"{value} views")
        else:
            words.append(f"{name} {value}")
    return ", ".join(words)


def group_text(task: str, condition: str) -> str:
    """Return a title for a task and a condition in words."""
    return ": ".join(word for word in (TASK_TITLES.get(task, task), condition) if word)


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
    numbers = {name: _optional(int if name == "count" else float, entry[name]) for name in OUTCOME_TITLES}
    texts = {name: _text(entry[name]) for name in ("method", "task")}
    return {**texts, "condition": condition_text(entry["condition"]), **numbers}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _optional(kind: type[Any], value: object) -> Any:
    """Return None or a value of a kind: float (of any JSON number), int or str. Raises TypeError for others."""
    if value is None:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {'number' if kind is float else 'text'}")
    return value


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How much a report shows, at most."""

    pictures: int = 40
    """Results of the prior with pictures and 3D: half of them the worst, the others evenly spread over the rest."""
    models: int = 160
    """Results with 3D: those of the prior that have pictures, then other methods on the same views."""
    faces: int = 6000
    """Faces of each surface in 3D."""
    points: int = 2500
    """Observed points in each picture and 3D view."""
    width: int = 260
    """Width of each picture, in pixels."""
    max_bytes: int = 30_000_000
    """Size of the page, in bytes, at which no more pictures and surfaces are added; the page tells what is left out."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("faces", "points", "width", "max_bytes"),
            not_negative=("pictures", "models"),
        )


def pictured_rows(document: EvaluationDocument, count: int) -> list[Row]:
    """Return the prior's rows to show in pictures, the worst first.

    Every group (task and condition) gets an equal number. Failed rows are among the worst; their pictures show the view
    and the truth alone.
    """
    groups: list[list[Row]] = []
    main = main_method(document)
    for task, condition in document.groups:
        rows = [row for row in document.rows if (row.task, row.condition, row.method) == (task, condition, main)]
        groups.append(sorted(rows, key=document.error_key, reverse=True))
    shares = _equal_shares([len(rows) for rows in groups], count)
    selected = [row for rows, some in zip(groups, shares, strict=True) for row in _worst_and_spread(rows, some)]
    return sorted(selected, key=document.error_key, reverse=True)


def companions(document: EvaluationDocument, rows: Sequence[Row]) -> list[Row]:
    """Return the results of other methods on the views of these rows, in the order of the rows."""
    wanted = {(row.id, row.task, row.condition): place for place, row in enumerate(rows)}
    numbers = {row.number for row in rows}
    found = [row for row in document.rows if (row.id, row.task, row.condition) in wanted and row.number not in numbers]
    return sorted(found, key=lambda row: wanted[row.id, row.task, row.condition])


def main_method(document: EvaluationDocument) -> str:
    """Return the method that the report is about: the prior, or the first method of a document without it."""
    return PRIOR_METHOD if PRIOR_METHOD in document.methods else next(iter(document.methods), PRIOR_METHOD)


def _equal_shares(sizes: Sequence[int], count: int) -> list[int]:
    """Distribute `count` over groups of some sizes, so that no group gets more than another that still has members."""
    shares = [0] * len(sizes)
    while count > 0 and any(share < size for share, size in zip(shares, sizes, strict=True)):
        for group, size in enumerate(sizes):
            if count > 0 and shares[group] < size:
                shares[group] += 1
                count -= 1
    return shares


def _worst_and_spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return `count` rows: one half from the beginning, the others as the last ones of equal parts of the rest."""
    if count >= len(rows):
        return list(rows)
    num_worst = -(-count // 2)
    rest, num_parts = rows[num_worst:], count - num_worst
    return [*rows[:num_worst], *(rest[((part + 1) * len(rest)) // num_parts - 1] for part in range(num_parts))]
