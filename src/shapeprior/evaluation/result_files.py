"""The files of an evaluation: metrics.json, metrics.csv and report.md, all made from the same rows."""

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
from shapeprior.errors import one_line
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, SPLIT_METRICS
from shapeprior.evaluation.summary import outcomes_markdown, summarize_outcomes, summarize_rows
from shapeprior.io import markdown
from shapeprior.io.files import write_bytes
from shapeprior.parallel.system import machine, versions

FORMAT_VERSION = 1
"""Version of metrics.json."""
PLACEMENT_FIELDS = ("turn_deg", "scale", "offset")
"""Fields of a row's `placement` that metrics.csv holds."""
MAX_LOG_BYTES = 1 << 28
"""Longer training logs are left out."""
TASK_HEADINGS = {
    "codes": "Training shapes by their codes",
    "full": "Unseen shapes, seen all around",
    "view": "Unseen shapes, from partial views",
}
PART_METRICS = ("chamfer_l1", "fscore_1", "fscore_2", "normal_consistency")
"""Metrics in the table of the seen and the unseen part; metrics.json has all."""
NUM_INTERVALS = 3
"""The first metrics, whose means are shown with intervals."""
MAX_LISTED_ROWS = 50
"""Rows that are listed for each method and condition, at most, the worst first."""


@dataclass(frozen=True, kw_only=True)
class EvaluationInfo:
    """What was evaluated, and how."""

    prior: str
    """Path or name of the prior."""
    prior_settings: dict[str, Any]
    """The config of the prior's run, as JSON."""
    data: str
    """Path or URL of the data set."""
    refused: tuple[RefusedShape, ...]
    """Files that the preparation of the data set refused."""
    config: EvaluateConfig
    seed: int
    methods: dict[str, dict[str, str | None]]
    """For each method, its description (`text`) and why it was not run (`not_run`, None if it was)."""


def make_document(info: EvaluationInfo, rows: Sequence[Mapping[str, Any]], *, seconds: float) -> dict[str, Any]:
    """Return the content of metrics.json, which docs/evaluation.md describes."""
    return {
        "version": FORMAT_VERSION,
        "prior": info.prior,
        "data": info.data,
        "settings": config_to_json(info.config),
        "prior_settings": info.prior_settings,
        "machine": machine(),
        "versions": versions(),
        "seed": info.seed,
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
        "methods": info.methods,
        "rows": list(rows),
        "summary": summarize_rows(rows, seed=info.seed),
        "outcomes": summarize_outcomes(rows, placement_known=info.config.placement == "known"),
        "training": training_log(Path(info.prior)),
    }


def write_documents(out: Path, document: Mapping[str, Any], info: EvaluationInfo) -> None:
    """Write the three files, metrics.json last: if it exists, the others do, too. Raises OutputError."""
    write_bytes(out / "metrics.csv", _csv_table(document["rows"]))
    write_bytes(out / "report.md", markdown_report(document, info.refused).encode())
    write_bytes(out / "metrics.json", "".join(_json_pieces(document)).encode())


def training_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log.jsonl, without those that are no JSON objects; empty if there is no log."""
    path, entries = run / "log.jsonl", []
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
            entries.append({str(key): _finite_or_none(value) for key, value in entry.items()})
    return entries


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield strict JSON with one row on each line: readable, and half as long as with one value on each line."""
    yield "{"
    for number, (key, value) in enumerate(document.items()):
        yield f"{',' if number else ''}\n {json.dumps(key)}: "
        if isinstance(value, list) and value:
            yield "[\n  " + ",\n  ".join(json.dumps(row, allow_nan=False) for row in value) + "\n ]"
        else:
            yield json.dumps(value, allow_nan=False)
    yield "\n}\n"


def _csv_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return metrics.csv: one line for each row, with the metrics of the whole surface, its seen and its unseen part.

    Cells are empty where there is no value.
    """
    names = list(METRIC_DEFINITIONS)
    head = ["id", "method", "task", "views", "sensor", "failure", "seconds", "verdict", "explained"]
    head += [f"placement_{name}" for name in PLACEMENT_FIELDS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *names, *(f"{part}_{name}" for part in ("seen", "unseen") for name in SPLIT_METRICS)])
    for row in rows:
        condition = row["condition"]
        values = [row["id"], row["method"], row["task"], condition.get("views"), condition.get("sensor")]
        values += [row["failure"] and one_line(row["failure"])]
        values += [row["seconds"], row["verdict"], row["explained"]]
        values += [(row["placement"] or {}).get(name) for name in PLACEMENT_FIELDS]
        values += [row["metrics"][name] for name in names]
        values += [(row[part] or {}).get(name) for part in ("seen", "unseen") for name in SPLIT_METRICS]
        writer.writerow([f"{value:.8g}" if isinstance(value, float) else value for value in values])
    return text.getvalue().encode()


def markdown_report(document: Mapping[str, Any], refused: Sequence[RefusedShape] = ()) -> str:
    """Return report.md, with definitions, means and the worst rows, from the content of metrics.json."""
    settings, names = document["settings"], list(document["definitions"])
    failures = sum(row["failure"] is not None for row in document["rows"])
    lines = [
        "# Evaluation",
        "",
        f"Prior `{document['prior']}`, data `{document['data']}`, split `{settings['split']}`, placement "
        f"{settings['placement']}, {settings['resolution']}³ cells, seed {document['seed']}: "
        f"{len(document['rows'])} rows, {failures} failures (scored worst and included).",
        "",
        "Means over the shapes, with 95 % intervals (bootstrap) of the first three metrics; p90 is the 90th percentile "
        "on the bad side.",
    ]
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for entry in document["summary"]:
        sections.setdefault(_heading(entry["task"], entry["condition"]), []).append(entry)
    for heading, entries in sections.items():
        lines += ["", heading, "", *_table_of_means(entries, names)]
        if entries[0]["task"] == "view":
            lines += ["", *_table_of_parts(entries)]
        section = (entries[0]["task"], entries[0]["condition"])
        outcomes = [entry for entry in document["outcomes"] if (entry["task"], entry["condition"]) == section]
        lines += ["", *outcomes_markdown(outcomes)]
    lines += ["", "## Methods", ""]
    for name, method in document["methods"].items():
        lines.append(f"- {name}: {method['text']}" + (f" ({method['not_run']})" if method["not_run"] else ""))
    lines += ["", "## Metrics", "", *_definitions(document)]
    lines += ["", "## Rows, the worst first", "", *_table_of_worst_rows(document["rows"], names)]
    if refused:
        lines += ["", "Files that preparation refused:", ""]
        lines += [f"- {markdown.cell(refusal.source)}: {markdown.cell(refusal.reason)}" for refusal in refused]
    return "\n".join(lines) + "\n"


def _heading(task: str, condition: Mapping[str, Any]) -> str:
    words = (
        f": {condition['views']} view{'s' * (condition['views'] > 1)}, sensor {condition['sensor']}"
        if condition
        else ""
    )
    return f"## {TASK_HEADINGS[task]}{words}"


def _table_of_means(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    rows = []
    for method, group in _by_method(entries):
        means = {entry["metric"]: entry for entry in group if entry["part"] == "all"}
        cells = [_mean(means.get(name), interval=number < NUM_INTERVALS) for number, name in enumerate(names)]
        first = means[names[0]]
        rows.append([method, str(first["count"]), str(first["failures"]), *cells, f"{means['fscore_2']['p90']:.4f}"])
    head = ["method", "shapes", "failures", *names, "fscore_2 p90"]
    return markdown.table(head, rows, align="l" + "r" * (len(head) - 1))


def _table_of_parts(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [(name, part) for name in PART_METRICS for part in ("seen", "unseen")]
    rows = []
    for method, group in _by_method(entries):
        means = {(entry["metric"], entry["part"]): entry for entry in group}
        rows.append([method, *(_mean(means.get(column)) for column in columns)])
    head = ["method", *(f"{name}, {part}" for name, part in columns)]
    return markdown.table(head, rows, align="l" + "r" * len(columns))


def _by_method(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for method in dict.fromkeys(entry["method"] for entry in entries):
        yield method, [entry for entry in entries if entry["method"] == method]


def _mean(entry: Mapping[str, Any] | None, *, interval: bool = False) -> str:
    if entry is None:
        return "-"
    return f"{entry['mean']:.4f}" + (f" ({entry['low']:.4f} to {entry['high']:.4f})" if interval else "")


def _definitions(document: Mapping[str, Any]) -> list[str]:
    counts = document["settings"]["metrics"]
    rows = [
        [name, definition["text"], definition["unit"], definition["better"], f"{definition['worst']:g}"]
        for name, definition in document["definitions"].items()
    ]
    return [
        f"P and T are {counts['surface_points']:,} points each, uniform by area, on prediction and truth; "
        f"volumes are compared on {counts['volume_points']:,} points, edges on those of {counts['edge_points']:,} "
        "that are near one.",
        "",
        *markdown.table(["metric", "definition", "unit", "better", "worst"], rows, align="llllr"),
    ]


def _table_of_worst_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    listed, num_listed = [], dict[tuple[str, str], int]()
    for row in sorted(rows, key=lambda row: row["metrics"]["fscore_2"]):
        condition = row["condition"]
        task = f"{row['task']} {condition['views']} {condition['sensor']}" if condition else row["task"]
        num_listed[task, row["method"]] = num_listed.get((task, row["method"]), 0) + 1
        if num_listed[task, row["method"]] > MAX_LISTED_ROWS:
            continue
        values = ["-" if row["metrics"][name] is None else f"{row['metrics'][name]:.4f}" for name in names]
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.2f}"
        listed.append([row["id"], row["method"], task, *values, seconds, row["failure"] or ""])
    head = ["shape", "method", "task", *names, "seconds", "failure"]
    return markdown.table(head, listed, align="lll" + "r" * (len(names) + 1) + "l")
