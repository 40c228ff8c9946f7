"""The report of an evaluation: one HTML page with all results, pictures and a 3D viewer, which needs no other file."""

import json
import os
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from shapeprior.evaluation.config import PRIOR_METHOD
from shapeprior.evaluation.report.charts import condition_charts, distribution_charts, training_charts
from shapeprior.evaluation.report.document import (
    TASK_TITLES,
    EvaluationDocument,
    ReportConfig,
    Row,
    companions,
    group_text,
    pictured_rows,
    read_evaluation,
)
from shapeprior.evaluation.report.gallery import error_legend, gallery, scene_picture
from shapeprior.evaluation.report.scenes import (
    ERROR_COLORS,
    MAX_ERROR,
    Scene,
    SceneReader,
    pack_distances,
    pack_points,
    pack_surface,
)
from shapeprior.evaluation.report.summary import definitions_table, headline, methods_list, summary_tables
from shapeprior.io.files import write_bytes

MAX_FAULTS = 50
"""Files that cannot be scenes, at most, that the page names."""


@dataclass(eq=False)
class EmbeddedScenes:
    """The pictures and surfaces that are embedded in the page."""

    pictures: dict[int, str] = field(default_factory=dict)
    """Data URLs by row number."""
    by_row: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Names of the surfaces and colours that the viewer shows, by row number."""
    surfaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Packed surfaces and points by the names of their files, since rows share them."""
    wanted: int = 0
    """Number of rows that were selected for pictures."""
    size: int = 0
    """Size of all of them and of metrics.json, in bytes."""


def write_report(out: str | os.PathLike[str], *, config: ReportConfig | None = None) -> Path:
    """Write report.html beside the metrics.json of an evaluation; returns the page's path.

    The page needs no network and no other file. Its table holds all results. Pictures and surfaces are limited by
    `config`, and the page tells what is left out. Meshes that are missing or broken are named on the page. The same
    evaluation gives the same bytes.

    Raises ReportError if metrics.json is missing or broken, and OutputError if the page cannot be written.
    """
    config = config or ReportConfig()
    document = read_evaluation(Path(out))
    reader = SceneReader(document, config)
    data = embedded_json(document.raw)
    scenes = _embed_scenes(document, reader, config, used=len(data))
    page = _page(document, scenes, reader.faults, data)
    write_bytes(document.folder / "report.html", page.encode())
    return document.folder / "report.html"


def embedded_json(value: Any) -> str:
    """Return JSON for a script element. No text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    # JSON may hold lone halves of surrogate pairs, which have no UTF-8.
    return "".join(f"\\u{ord(mark):04x}" if 0xD800 <= ord(mark) <= 0xDFFF else mark for mark in text)


def _embed_scenes(
    document: EvaluationDocument, reader: SceneReader, config: ReportConfig, *, used: int
) -> EmbeddedScenes:
    """Read, draw and pack the scenes of the selected rows, until the page is full."""
    scenes = EmbeddedScenes(size=used)
    pictured = pictured_rows(document, config.pictures)
    others = companions(document, pictured)[: max(0, config.models - len(pictured))]
    scenes.wanted = len(pictured)
    for number, row in enumerate([*pictured, *others]):
        if scenes.size >= config.max_bytes:
            break
        scene = reader.read(row)
        if number < len(pictured):
            picture = scene_picture(scene, width=config.width)
            if picture is not None:
                scenes.pictures[row.number] = picture
                scenes.size += len(picture)
        _add_scene(scenes, row, scene)
    return scenes


def _add_scene(scenes: EmbeddedScenes, row: Row, scene: Scene) -> None:
    entry: dict[str, Any] = {"mesh": None, "truth": None, "points": None, "wrong": None, "missing": None}
    for key, name, surface in (("mesh", row.mesh, scene.completion), ("truth", row.truth, scene.truth)):
        if name is not None and surface is not None:
            entry[key] = name
            if name not in scenes.surfaces:
                scenes.surfaces[name] = pack_surface(surface.for_viewer)
                scenes.size += len(scenes.surfaces[name]["vertices"]) + len(scenes.surfaces[name]["faces"])
    if row.observation is not None and scene.points is not None:
        entry["points"] = row.observation
        if row.observation not in scenes.surfaces:
            scenes.surfaces[row.observation] = pack_points(scene.points)
            scenes.size += len(scenes.surfaces[row.observation]["vertices"])
    if scene.completion is not None and scene.truth is not None:
        entry["wrong"] = pack_distances(scene.truth.tree.distance(scene.completion.for_viewer.vertices))
        entry["missing"] = pack_distances(scene.completion.tree.distance(scene.truth.for_viewer.vertices))
        scenes.size += len(entry["wrong"]) + len(entry["missing"])
    if any(value is not None for value in entry.values()):
        scenes.by_row[row.number] = entry


def _page(document: EvaluationDocument, scenes: EmbeddedScenes, faults: list[str], data: str) -> str:
    folder = files("shapeprior") / "assets" / "report"
    raw = document.raw
    title = f"Prior {raw.get('prior', '')} on data {Path(str(raw.get('data', ''))).name}"
    view = {
        "main": document.main_metric,
        "prior": PRIOR_METHOD,
        "tasks": TASK_TITLES,
        "limit": MAX_ERROR,
        "stops": ERROR_COLORS,
        "conditions": [row.condition for row in document.rows],
        "groups": [[task, condition, group_text(task, condition)] for task, condition in document.groups],
    }
    parts = {
        "title": escape(title),
        "style": (folder / "report.css").read_text(encoding="utf-8"),
        "facts": _facts(document),
        "headline": headline(document),
        "tables": summary_tables(document),
        "distributions": distribution_charts(document),
        "conditions": condition_charts(document) or "<p>There is one condition only.</p>",
        "gallery": gallery(document, scenes.pictures, wanted=scenes.wanted, models=set(scenes.by_row)),
        "legend": error_legend(),
        "training": training_charts(raw["training"]) or "<p>The run has no log of its training.</p>",
        "definitions": definitions_table(document),
        "methods": methods_list(document),
        "settings": _settings(document),
        "faults": _faults(faults),
        "metrics_json": data,
        "view_json": embedded_json(view),
        "scenes_json": embedded_json({"rows": scenes.by_row, "surfaces": scenes.surfaces}),
        "script": "".join((folder / name).read_text(encoding="utf-8") for name in ("viewer.js", "report.js")),
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    # One pass, so that braces in an inserted text are not taken for a place to insert another.
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _facts(document: EvaluationDocument) -> str:
    raw, machine = document.raw, document.raw["machine"]
    shapes = len({row.id for row in document.rows})
    facts = {
        "shapes": f"{shapes:,}",
        "results": f"{len(document.rows):,}",
        "methods": f"{len(document.methods)}",
        "seed": str(raw.get("seed", "–")),
        "seconds": "–" if raw.get("seconds") is None else f"{float(raw['seconds']):,.0f}",
        "processor": f"{machine.get('processor', '–')}, {machine.get('cores', '–')} cores",
        "shapeprior": str(raw["versions"].get("shapeprior", "–")),
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _settings(document: EvaluationDocument) -> str:
    raw = document.raw
    blocks = {
        "evaluation": {"prior": raw.get("prior"), "data": raw.get("data"), "seed": raw.get("seed"), **raw["settings"]},
        "prior": raw.get("prior_settings"),
        "machine": raw["machine"],
        "versions": raw["versions"],
    }
    return "".join(
        f"<details><summary>{name}</summary>"
        f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre></details>"
        for name, value in blocks.items()
    )


def _faults(faults: list[str]) -> str:
    if not faults:
        return ""
    items = "".join(f"<li>{escape(fault)}</li>" for fault in faults[:MAX_FAULTS])
    more = f"<li>and {len(faults) - MAX_FAULTS} more</li>" if len(faults) > MAX_FAULTS else ""
    return f'<div class="note"><p>Files that cannot be shown:</p><ul>{items}{more}</ul></div>'
