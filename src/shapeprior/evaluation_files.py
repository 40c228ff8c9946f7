"""The files of an evaluation: metrics.json, metrics.csv and report.md, made of the same rows."""

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
from shapeprior.evaluate_config import EvaluateConfig
from shapeprior.io.files import write_bytes
from shapeprior.metric_definitions import METRIC_DEFINITIONS
from shapeprior.outcome_summary import summarize_outcomes
from shapeprior.parallel.system import machine, versions
from shapeprior.report_table import markdown_report
from shapeprior.score_summary import summarize_rows

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
