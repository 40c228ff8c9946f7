"""The tables and the figure of the re-implemented work: figures measured by this package beside the published ones."""

import base64
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from shapeprior.config import config_to_json
from shapeprior.evaluation import html_table
from shapeprior.evaluation.report.svg import number
from shapeprior.evaluation.reproduction.measure import (
    NUM_SAMPLES,
    PUBLISHED_RESOLUTION,
    MeasuredPrior,
    MeasuredShape,
    ReproductionConfig,
    devices,
    measure_prior,
)
from shapeprior.evaluation.reproduction.published import (
    CHAMFER_X1000,
    DATA_COLLECTION_SECONDS,
    INFERENCE,
    NOT_STATED,
    PARAMETERS,
    SHAPES,
    WORK,
)
from shapeprior.io import markdown
from shapeprior.io.files import write_bytes
from shapeprior.models.presets import TrainConfig
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.parallel.system import machine_text
from shapeprior.visualization.pictures import Panel, contact_sheet, save_picture

MAX_FIGURE_POINTS = 2500
"""Points of a partial view in the figure, at most."""
NO_GPU = "no GPU here"
_NOTES = (
    "Published figures are quoted, with the file of that work's repository that states them; ours are measured on this "
    "machine by this command or read from the priors' own records.",
    "Our shapes are generated from a seed that no prior was trained on, and each is completed from one rendered depth "
    "view whose placement is known. The published meshes are decoded from codes of training shapes: "
    "code to mesh is what compares.",
    "The published times are of a grid of 512³ points, all of which are evaluated; ours evaluates those near the "
    "surface.",
    "Chamfer here is the published definition, 1000 times the half sum of mean distances on 10,000 points a surface, "
    "ours in radii of the unit sphere; a shape without a completion counts with 2000. "
    "The published frame is not stated.",
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_reproduction_tables(
    out: str | os.PathLike[str],
    *,
    config: ReproductionConfig | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Measure the bundled priors and write original.md, original.html, original.png and original.json; returns the
    page's path.

    The figure shows the first unseen shape of each category, even if its completion failed. Raises ConfigError for a
    seed that a prior was trained on, and OutputError if `out` cannot be written.
    """
    config, out = config or ReproductionConfig(), Path(out)
    measured = [measure_prior(name, config, progress=progress) for name in config.categories]
    tables = (training_table(measured), times_table(measured, config), chamfer_table(measured))
    figure = reproduction_figure(measured)
    save_picture(out / "original.png", figure)
    write_bytes(out / "original.json", (json.dumps(_measurements(measured, config.seed), indent=1) + "\n").encode())
    write_bytes(out / "original.md", _markdown(tables, measured).encode())
    write_bytes(out / "original.html", _html(tables, measured, figure).encode())
    return out / "original.html"


def training_table(measured: Sequence[MeasuredPrior]) -> Table:
    """Return the parameters of training: the published ones beside those of each bundled prior."""
    ours = [_parameters(item) for item in measured]
    rows = []
    for name in dict.fromkeys(name for parameters in ours for name in parameters):
        published = str(PARAMETERS[name]) if name in PARAMETERS else NOT_STATED
        if name == "training shapes":
            known = {item.category: SHAPES[item.category] for item in measured if item.category in SHAPES}
            sources = ", ".join(dict.fromkeys(figure.source for figure in known.values()))
            counts = ", ".join(f"{category} {figure.value}" for category, figure in known.items())
            published = f"{counts} ({sources})" if known else NOT_STATED
        rows.append((name, published, *(parameters.get(name, "–") for parameters in ours)))
    head = ("parameter", "published", *(item.category for item in measured))
    return Table(title="Training parameters", head=head, rows=tuple(rows))


def times_table(measured: Sequence[MeasuredPrior], config: ReproductionConfig) -> Table:
    """Return the times for each object, as medians over the unseen shapes."""

    def row(name: str, published: str, value: Callable[[MeasuredShape], float | None]) -> tuple[str, ...]:
        return (name, published, *(_seconds(item.median(value)) for item in measured))

    rows = [
        row(f"data collection: {NUM_SAMPLES:,} SDF samples", str(DATA_COLLECTION_SECONDS), lambda s: s.sampling_seconds)
    ]
    for device in ("cpu", "cuda"):
        for resolution in config.resolutions:
            names = [name for name in INFERENCE if (name == "Xeon CPU") == (device == "cpu")]
            published = "; ".join(f"{name}: {INFERENCE[name]}" for name in names)
            if resolution != PUBLISHED_RESOLUTION:
                published = NOT_STATED
            name = f"code to mesh at {resolution}³, {_device_name(device)}"
            if device in devices():
                rows.append(row(name, published, lambda s, key=(device, resolution): s.decoding_seconds.get(key)))
            else:
                rows.append((name, published, *(NO_GPU for _ in measured)))
    name = f"partial view to mesh at {config.resolutions[0]}³, {_device_name('cpu')}"
    rows.append(row(name, NOT_STATED, lambda s: s.completion_seconds))
    head = ("time an object", "published", *(item.category for item in measured))
    return Table(title="Time an object", head=head, rows=tuple(rows))


def chamfer_table(measured: Sequence[MeasuredPrior]) -> Table:
    """Return the Chamfer distances by the published definition. Failures count with the worst score."""
    rows = []
    for item in measured:
        published = str(CHAMFER_X1000[item.category]) if item.category in CHAMFER_X1000 else NOT_STATED
        values = [shape.chamfer_x1000 for shape in item.shapes]
        failed = sum(shape.failure is not None for shape in item.shapes)
        ours = f"{number(sum(values) / len(values))} ({number(min(values))} to {number(max(values))})"
        rows.append((item.category, published, ours, f"{_unseen(len(values))}, {failed} failed"))
    head = ("category", "published, of training shapes", "ours, of unseen shapes from one view", "shapes")
    return Table(title="Chamfer × 1000, mean (range)", head=head, rows=tuple(rows))


def reproduction_figure(measured: Sequence[MeasuredPrior]) -> Image.Image:
    """Return the figure: truth, partial view and reconstruction of the first unseen shape of each category."""
    rows = []
    for place, item in enumerate(measured):
        shape = item.shapes[0]
        titles = ("truth", "partial view", "reconstruction") if place == 0 else ("", "", "")
        points = shape.view_unit.subsampled(MAX_FIGURE_POINTS, seed=0).points_world
        row = [Panel(title=titles[0], mesh=shape.truth_unit), Panel(title=titles[1], points=points)]
        if shape.completion_unit is not None:
            row.append(Panel(title=titles[2], mesh=shape.completion_unit))
        rows.append(row)
    return contact_sheet(rows)


def _parameters(item: MeasuredPrior) -> dict[str, str]:
    """Return the parameters of a prior's training, in words, from its own record."""
    config, train = item.prior.config, item.prior.config.train
    weights = sum(parameter.numel() for parameter in item.prior.decoder.parameters())
    sampling = config.dataset.get("settings", {}).get("prepare", {}).get("sampling", {})
    samples = sum(count for count in sampling.values() if isinstance(count, int) and not isinstance(count, bool))
    made_by = item.made_by
    seconds = made_by.get("training_seconds")
    return {
        "decoder": _decoder_words(item),
        "weights": f"{weights:,}",
        "code size": str(item.prior.decoder.code_size),
        "training shapes": f"{len(config.shape_ids):,}",
        "SDF samples a shape": f"{samples:,}",
        "loss": f"{train.loss} L1, clamp {train.clamp:g}",
        "epochs": str(made_by.get("epochs", train.epochs)),
        "batch": f"{train.shapes_per_batch} shapes × {train.points_per_shape:,} samples",
        "learning rates": _rates(train),
        "weight of the code prior": f"{train.code_prior:g}",
        "first codes": train.start,
        "training time": "–"
        if seconds is None
        else f"{seconds / 60.0:.1f} min on {made_by.get('threads', '?')} CPU thread",
    }


def _decoder_words(item: MeasuredPrior) -> str:
    config = item.prior.config.decoder
    if isinstance(config, TriplaneConfig):
        side = config.base * 2 ** (len(config.channels) - 1)
        return f"three planes of {side}² × {config.channels[-1]}, MLP of {config.width}"
    return f"MLP, {config.layers} layers of {config.width}"


def _rates(train: TrainConfig) -> str:
    matrices = f", its matrices {train.matrix_rate:g} (Muon)" if train.matrix_rate else ""
    return (
        f"decoder {train.decoder_rate:g}{matrices}, codes {train.code_rate:g}, falling to {train.final_rate_share:.0%}"
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} s"


def _device_name(device: str) -> str:
    if device not in devices() or device == "cpu":
        return "CPU" if device == "cpu" else "GPU"
    import torch

    return torch.cuda.get_device_name(0)


def _measurements(measured: Sequence[MeasuredPrior], seed: int) -> dict[str, Any]:
    """Return the content of original.json: everything that was measured, for other programs."""
    return {
        "format": "shapeprior-original",
        "version": 1,
        "seed": seed,
        "machine": machine_text(),
        "priors": {
            item.category: {
                "decoder": config_to_json(item.prior.config.decoder),
                "train": config_to_json(item.prior.config.train),
                "shapes": [
                    {
                        "id": shape.id,
                        "sampling_seconds": shape.sampling_seconds,
                        "completion_seconds": shape.completion_seconds,
                        "decoding_seconds": [
                            {"device": device, "resolution": resolution, "seconds": seconds}
                            for (device, resolution), seconds in shape.decoding_seconds.items()
                        ],
                        "chamfer_x1000": shape.chamfer_x1000,
                        "failure": shape.failure,
                    }
                    for shape in item.shapes
                ],
            }
            for item in measured
        },
    }


def _intro(measured: Sequence[MeasuredPrior]) -> str:
    shapes = max(len(item.shapes) for item in measured)
    return f"Published figures: “{WORK}”. Ours: medians over {_unseen(shapes)} a category, on {machine_text()}."


def _markdown(tables: Sequence[Table], measured: Sequence[MeasuredPrior]) -> str:
    lines = ["# The original's tables and figure, made anew", "", _intro(measured), ""]
    for table in tables:
        lines += [f"## {table.title}", "", *markdown.table(table.head, table.rows), ""]
    lines += ["## Truth, partial view, reconstruction", "", f"![{_alt(measured)}](original.png)", ""]
    return "\n".join([*lines, *(f"- {note}" for note in _NOTES)]) + "\n"


def _html(tables: Sequence[Table], measured: Sequence[MeasuredPrior], figure: Image.Image) -> str:
    style = (files("shapeprior") / "assets" / "report" / "report.css").read_text(encoding="utf-8")
    buffer = io.BytesIO()
    figure.save(buffer, format="PNG", optimize=True)
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    sections = []
    for table in tables:
        head = [html_table.column_heading(escape(title)) for title in table.head]
        rows = [
            [html_table.row_heading(escape(row[0])), *(html_table.cell(escape(text)) for text in row[1:])]
            for row in table.rows
        ]
        sections.append(f"<section><h2>{escape(table.title)}</h2>{html_table.table(head, rows)}</section>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in _NOTES)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>The original’s tables and figure, made anew</title><style>{style}</style></head><body>"
        '<header><p class="kicker">shapeprior</p><h1>The original’s tables and figure, made anew</h1>'
        f'<p class="lead">{escape(_intro(measured))}</p></header><main>{"".join(sections)}'
        '<section><h2>Truth, partial view, reconstruction</h2><p><img style="max-width:100%" alt="'
        f'{escape(_alt(measured))}" src="data:image/png;base64,{picture}"></p></section>'
        f'<section><h2>What is compared</h2><ul class="lead">{notes}</ul></section></main></body></html>\n'
    )


def _unseen(count: int) -> str:
    return f"{count} unseen {'shape' if count == 1 else 'shapes'}"


def _alt(measured: Sequence[MeasuredPrior]) -> str:
    return "Truth, partial view and reconstruction of " + ", ".join(item.category for item in measured)
