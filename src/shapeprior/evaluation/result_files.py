"""The files of an evaluation: metrics.json, metrics.csv and report.md, made of the same rows.

The evaluation as a page of Markdown.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapeprior.config import config_to_json
from shapeprior.datasets.manifest import RefusedShape
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.evaluation.summary import outcomes_markdown, summarize_outcomes, summarize_rows
from shapeprior.io.files import write_bytes
from shapeprior.parallel.system import machine, versions

VERSION = 1
PLACEMENT = ("turn_deg", "scale", "offset")
"""Of a row's `placement`."""
MAX_LOG_BYTES = 1 << 28
"""A longer training log is left out."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was evaluated, and how."""

    prior: str
    """Path or name."""
    prior_settings: dict[str, Any]
    """The run's config as JSON."""
    data: str
    """Path or URL of the data set."""
    refused: tuple[RefusedShape, ...]
    """What its preparation refused."""
    config: EvaluateConfig
    seed: int
    methods: dict[str, dict[str, str | None]]
    """By name: what each does, and why it was not run."""


def document_of(evaluated: Evaluated, rows: Sequence[dict[str, Any]], *, seconds: float) -> dict[str, Any]:
    """What metrics.json holds; docs/evaluation.md describes it."""
    return {
        "version": VERSION,
        "prior": evaluated.prior,
        "data": evaluated.data,
        "settings": config_to_json(evaluated.config),
        "prior_settings": evaluated.prior_settings,
        "machine": machine(),
        "versions": versions(),
        "seed": evaluated.seed,
        "seconds": seconds,
        "definitions": {
            name: {
                "text": definition.text,
                "better": definition.better,
                "worst": definition.worst,
                "unit": definition.unit,
            }
            for name, definition in METRIC_DEFINITIONS.items()
        },
        "methods": evaluated.methods,
        "rows": list(rows),
        "summary": summarize_rows(rows, seed=evaluated.seed),
        "outcomes": summarize_outcomes(rows, placement_known=evaluated.config.placement == "known"),
        "training": training_log(Path(evaluated.prior)),
    }


def write_documents(out: Path, document: Mapping[str, Any], evaluated: Evaluated) -> None:
    """Write the three files, metrics.json last: where it is, the others are. Raises OutputError."""
    write_bytes(out / "metrics.csv", _table(document["rows"]))
    write_bytes(out / "report.md", markdown_report(document, evaluated.refused).encode())
    write_bytes(out / "metrics.json", "".join(_lines(document)).encode())


def training_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl; none if there is no log. Lines that are no objects of JSON are left out."""
    path, found = run / "log.jsonl", []
    try:
        if not path.is_file() or path.stat().st_size > MAX_LOG_BYTES:
            return []
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        # The last line may be half written.
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            found.append({str(key): _plain(value) for key, value in entry.items()})
    return found


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Strict JSON with one row a line: thousands of rows stay readable, and half as long."""
    yield "{"
    for number, (key, value) in enumerate(document.items()):
        yield f"{',' if number else ''}\n {json.dumps(key)}: "
        if isinstance(value, list) and value:
            yield "[\n  " + ",\n  ".join(json.dumps(row, allow_nan=False) for row in value) + "\n ]"
        else:
            yield json.dumps(value, allow_nan=False)
    yield "\n}\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One line a row: what it is, then each metric of the whole, of the seen and of the unseen part; empty where there is none."""
    names = list(METRIC_DEFINITIONS)
    split = [name for name, definition in METRIC_DEFINITIONS.items() if definition.split]
    head = ["id", "method", "task", "views", "sensor", "failure", "seconds", "verdict", "explained"]
    head += [f"placement_{name}" for name in PLACEMENT]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *names, *(f"{part}_{name}" for part in ("seen", "unseen") for name in split)])
    for row in rows:
        condition = row["condition"]
        first = [row["id"], row["method"], row["task"], condition.get("views"), condition.get("sensor")]
        first += [row["failure"] and " ".join(row["failure"].split()), row["seconds"], row["verdict"], row["explained"]]
        first += [(row["placement"] or {}).get(name) for name in PLACEMENT]
        parts = [(row[part] or {}).get(name) for part in ("seen", "unseen") for name in split]
        writer.writerow([_csv_value(value) for value in (*first, *(row["metrics"][name] for name in names), *parts)])
    return text.getvalue().encode()


def _csv_value(value: object) -> object:
    return f"{value:.8g}" if isinstance(value, float) else value


TASKS = {
    "codes": "Training shapes by their codes",
    "full": "Unseen shapes, seen all around",
    "view": "Unseen shapes, from partial views",
}
PART_METRICS = ("chamfer_l1", "fscore_1", "fscore_2", "normal_consistency")
"""What the table of the seen and the unseen part shows; metrics.json has all."""
WORST_ROWS = 50
"""Rows that are listed one by one, the worst of each method under each condition."""


def markdown_report(document: Mapping[str, Any], refused: Sequence[RefusedShape] = ()) -> str:
    """Definitions, means with intervals and the worst rows. `document` is what metrics.json holds."""
    settings, names = document["settings"], list(document["definitions"])
    failures = sum(row["failure"] is not None for row in document["rows"])
    lines = [
        "# Evaluation",
        "",
        f"Prior `{document['prior']}`, data `{document['data']}`, split `{settings['split']}`, placement "
        f"{settings['placement']}, {settings['resolution']}³ cells, seed {document['seed']}: {len(document['rows'])} rows, "
        f"{failures} failures (scored worst and included).",
        "",
        "Means over the shapes, with 95 % intervals (bootstrap) of the first three metrics; p90 is the 90th percentile on the bad "
        "side.",
    ]
    headings: dict[str, list[Mapping[str, Any]]] = {}
    for entry in document["summary"]:
        headings.setdefault(_heading(entry["task"], entry["condition"]), []).append(entry)
    for heading, entries in headings.items():
        lines += ["", heading, "", *_means(entries, names)]
        if entries[0]["task"] == "view":
            lines += ["", *_parts(entries)]
        place = (entries[0]["task"], entries[0]["condition"])
        told = [entry for entry in document["outcomes"] if (entry["task"], entry["condition"]) == place]
        lines += ["", *outcomes_markdown(told)]
    lines += ["", "## Methods", ""]
    for name, method in document["methods"].items():
        lines.append(f"- {name}: {method['text']}" + (f" ({method['not_run']})" if method["not_run"] else ""))
    lines += ["", "## Metrics", "", *_definitions(document)]
    lines += ["", "## Rows, the worst first", "", *_rows(document["rows"], names)]
    if refused:
        lines += ["", "Files that preparation refused:", ""]
        lines += [f"- {_cell(refusal.source)}: {_cell(refusal.reason)}" for refusal in refused]
    return "\n".join(lines) + "\n"


def _heading(task: str, condition: Mapping[str, Any]) -> str:
    seen = (
        f": {condition['views']} view{'s' * (condition['views'] > 1)}, sensor {condition['sensor']}"
        if condition
        else ""
    )
    return f"## {TASKS[task]}{seen}"


def _means(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    yield "| method | shapes | failures | " + " | ".join(names) + " | fscore_2 p90 |"
    yield "| --- | ---: | ---: |" + " ---: |" * (len(names) + 1)
    for method, group in _by_method(entries):
        found = {entry["metric"]: entry for entry in group if entry["part"] == "all"}
        cells = [_mean(found.get(name), interval=number < 3) for number, name in enumerate(names)]
        first = found[names[0]]
        bad = f"{found['fscore_2']['p90']:.4f}"
        yield f"| {method} | {first['count']} | {first['failures']} | " + " | ".join(cells) + f" | {bad} |"


def _parts(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| method | " + " | ".join(f"{name}, {part}" for name in PART_METRICS for part in ("seen", "unseen")) + " |"
    yield "| --- |" + " ---: |" * (2 * len(PART_METRICS))
    for method, group in _by_method(entries):
        found = {(entry["metric"], entry["part"]): entry for entry in group}
        cells = [_mean(found.get((name, part))) for name in PART_METRICS for part in ("seen", "unseen")]
        yield f"| {method} | " + " | ".join(cells) + " |"


def _by_method(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for method in dict.fromkeys(entry["method"] for entry in entries):
        yield method, [entry for entry in entries if entry["method"] == method]


def _mean(entry: Mapping[str, Any] | None, *, interval: bool = False) -> str:
    if entry is None:
        return "-"
    return f"{entry['mean']:.4f}" + (f" ({entry['low']:.4f} to {entry['high']:.4f})" if interval else "")


def _definitions(document: Mapping[str, Any]) -> Iterator[str]:
    counts = document["settings"]["metrics"]
    yield (
        f"P and T are {counts['surface_points']:,} points each, uniform by area, on prediction and truth; volumes are compared on "
        f"{counts['volume_points']:,} points, edges on those of {counts['edge_points']:,} that are near one."
    )
    yield ""
    yield "| metric | definition | unit | better | worst |"
    yield "| --- | --- | --- | --- | ---: |"
    for name, definition in document["definitions"].items():
        yield f"| {name} | {definition['text']} | {definition['unit']} | {definition['better']} | {definition['worst']:g} |"


def _rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    yield "| shape | method | task | " + " | ".join(names) + " | seconds | failure |"
    yield "| --- | --- | --- |" + " ---: |" * (len(names) + 1) + " --- |"
    listed: dict[tuple[str, str], int] = {}
    for row in sorted(rows, key=lambda row: row["metrics"]["fscore_2"]):
        condition = row["condition"]
        place = f"{row['task']} {condition['views']} {condition['sensor']}" if condition else row["task"]
        listed[place, row["method"]] = listed.get((place, row["method"]), 0) + 1
        if listed[place, row["method"]] > WORST_ROWS:
            continue
        values = " | ".join("-" if row["metrics"][name] is None else f"{row['metrics'][name]:.4f}" for name in names)
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.2f}"
        yield f"| {row['id']} | {row['method']} | {place} | {values} | {seconds} | {_cell(row['failure'] or '')} |"


def _cell(text: str) -> str:
    """Text that stays in one cell: bars and line breaks would end it."""
    return " ".join(text.split()).replace("|", "\\|")
