"""Evaluation on the tiny data set with an analytic prior: every shape is a row, and every row counts."""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ellipsoids import PositiveDecoder, ellipsoid_prior
from plain_geometry import sphere_sdf

from shapeprior.cli import main
from shapeprior.dataset import Dataset
from shapeprior.decoder import Decoder
from shapeprior.errors import CompletionError, ConfigError, DatasetError, ScanError
from shapeprior.evaluate import EvaluateConfig, EvaluatedShape, evaluate_prior, evaluated_view, load_truth, score
from shapeprior.infer_config import InferConfig
from shapeprior.mesh_io import load_mesh
from shapeprior.metrics import METRIC_DEFINITIONS, Metrics, MetricsConfig
from shapeprior.observation import Observation
from shapeprior.prepare import prepare_dataset
from shapeprior.prepare_shape import PrepareConfig
from shapeprior.prior import Completion, ShapePrior
from shapeprior.records import RefusedShape
from shapeprior.sampling import SamplingConfig

FAST = EvaluateConfig(
    view_resolution=48, resolution=32, pictures=False, metrics=MetricsConfig(surface_points=1500, volume_points=2000)
)
NAMES = list(METRIC_DEFINITIONS)
BROKEN = RefusedShape(id="broken", source="broken.obj", source_sha256="", kind="refused", reason="broken.obj: open")


def read_strictly(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}, which is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


class Hasty(ShapePrior):
    """Takes few steps: what is tested is the bookkeeping, and ellipsoids with two numbers are soon found."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        return super().complete(view, infer=InferConfig(steps=4), **kwargs)


def hasty(decoder: Decoder | None = None) -> Hasty:
    prior = ellipsoid_prior(decoder)
    return Hasty(prior.decoder, prior.codes, prior.config)


@pytest.fixture(scope="module")
def report(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EvaluatedShape]]:
    out = tmp_path_factory.mktemp("report")
    return out, evaluate_prior(hasty(), tiny_data, out, config=dataclasses.replace(FAST, split="train"), seed=0)


def test_every_shape_of_the_split_is_a_row(tiny_data: Dataset, report: tuple[Path, list[EvaluatedShape]]) -> None:
    out, rows = report
    assert [row.id for row in rows] == [shape.id for shape in tiny_data.split("train")]
    document = read_strictly(out / "metrics.json")
    assert document["count"] == len(document["rows"]) == 4
    assert document["failures"] == 0
    assert [row["id"] for row in document["rows"]] == [row.id for row in rows]
    assert sorted(path.stem for path in (out / "meshes").iterdir()) == sorted(row.id for row in rows)


def test_means_and_medians_are_those_of_the_rows(report: tuple[Path, list[EvaluatedShape]]) -> None:
    document = read_strictly(report[0] / "metrics.json")
    for name in NAMES:
        column = [row["metrics"][name] for row in document["rows"]]
        assert document["mean"][name] == pytest.approx(sum(column) / 4)
        assert document["median"][name] == pytest.approx(float(np.median(column)))
    assert document["settings"]["seed"] == 0
    assert document["settings"]["trained_shapes"] == 25


def test_ellipsoids_are_completed_better_than_boxes(report: tuple[Path, list[EvaluatedShape]]) -> None:
    """The prior knows ellipsoids: those score near the sampling noise of 1500 points, boxes cannot."""
    scores = {row.id: row.metrics for row in report[1]}
    eggs = [metrics.iou for name, metrics in scores.items() if name.startswith("egg")]
    boxes = [metrics.iou for name, metrics in scores.items() if name.startswith("box")]
    assert eggs
    assert boxes
    assert min(eggs) > 0.9
    assert min(eggs) > max(boxes)


def test_written_meshes_are_what_was_scored(tiny_data: Dataset, report: tuple[Path, list[EvaluatedShape]]) -> None:
    out, rows = report
    mesh = load_mesh(out / "meshes" / f"{rows[0].id}.ply")
    again = score(mesh, load_truth(tiny_data, rows[0].id), seed=0, config=FAST.metrics)
    assert again.iou == pytest.approx(rows[0].metrics.iou, abs=1e-3)
    assert again.chamfer_l1 == pytest.approx(rows[0].metrics.chamfer_l1, rel=1e-3)


def test_the_report_states_every_definition_and_shape(report: tuple[Path, list[EvaluatedShape]]) -> None:
    text = (report[0] / "report.md").read_text(encoding="utf-8")
    for name, definition in METRIC_DEFINITIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert definition.definition in row
        assert definition.unit in row
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith(("| egg", "| box", "| ball"))]
    assert order == [row.id for row in sorted(report[1], key=lambda row: row.metrics.fscore_2)]
    assert "1,500 points" in text


class FailsOnce(Hasty):
    """Fails for the first shape, as a solver without a result does."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        if not getattr(self, "failed", False):
            object.__setattr__(self, "failed", True)
            raise CompletionError("no surface | NaN\nexpected one")
        return super().complete(view, **kwargs)


def test_a_failure_is_a_row_that_lowers_the_mean(tiny_data: Dataset, tmp_path: Path) -> None:
    prior = hasty()
    good = evaluate_prior(prior, tiny_data, tmp_path / "good", config=FAST, seed=0)
    rows = evaluate_prior(
        FailsOnce(prior.decoder, prior.codes, prior.config), tiny_data, tmp_path / "bad", config=FAST, seed=0
    )
    assert [row.failure for row in rows] == ["no surface | NaN\nexpected one", None]
    assert rows[0].metrics == Metrics.worst()
    assert (rows[0].residual, rows[0].explained) == (None, None)
    assert rows[1].metrics == good[1].metrics
    document, whole = (read_strictly(tmp_path / name / "metrics.json") for name in ("bad", "good"))
    assert document["failures"] == 1
    assert document["rows"][0]["failure"] == "no surface | NaN\nexpected one"  # Texts stay as they are.
    for name, definition in METRIC_DEFINITIONS.items():
        expected = (definition.worst + getattr(good[1].metrics, name)) / 2
        assert document["mean"][name] == pytest.approx(expected)
        better = whole["mean"][name] > document["mean"][name]
        assert better == definition.higher_is_better
    lines = (tmp_path / "bad" / "report.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {rows[0].id} |")]
    assert line.replace("\\|", "").count("|") == len(NAMES) + 4
    assert "1 failures" in "".join(lines)
    assert not (tmp_path / "bad" / "meshes" / f"{rows[0].id}.ply").exists()


def test_a_prior_without_any_surface_scores_worst(tiny_data: Dataset, tmp_path: Path) -> None:
    rows = evaluate_prior(hasty(PositiveDecoder()), tiny_data, tmp_path, config=FAST, seed=0)
    assert len(rows) == 2
    assert all(row.metrics == Metrics.worst() and "positive" in (row.failure or "") for row in rows)
    document = read_strictly(tmp_path / "metrics.json")
    assert document["failures"] == 2
    assert document["mean"] == dataclasses.asdict(Metrics.worst())
    assert (tmp_path / "report.md").exists()


def test_a_shape_that_cannot_be_viewed_is_a_row_and_json_stays_strict(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_view(*args: object, **kwargs: object) -> None:
        raise ScanError("no pixel shows the object")

    monkeypatch.setattr("shapeprior.evaluate.evaluated_view", no_view)
    rows = evaluate_prior(hasty(), tiny_data, tmp_path, config=FAST, seed=0)
    assert all(row.failure == "no pixel shows the object" and math.isnan(row.azimuth_deg) for row in rows)
    assert read_strictly(tmp_path / "metrics.json")["rows"][0]["azimuth_deg"] is None


def test_empty_split(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("train"))
    with pytest.raises(DatasetError, match="no shape in split 'test'"):
        evaluate_prior(hasty(), data, tmp_path / "out", config=FAST, seed=0)
    assert not (tmp_path / "out").exists()


def test_a_shape_without_a_mesh_is_a_row_and_the_others_are_evaluated(tiny_data: Dataset, tmp_path: Path) -> None:
    """As after an import of DeepSDF's samples, to which meshes were added."""
    prior, (first, second) = hasty(), tiny_data.split("test")
    whole = evaluate_prior(prior, tiny_data, tmp_path / "whole", config=FAST, seed=0)
    bare = dataclasses.replace(first, mesh_sha256=None, T_unit_world=None, confidence=None)
    data = dataclasses.replace(tiny_data, shapes=(bare, second))
    rows = evaluate_prior(prior, data, tmp_path / "report", config=FAST, seed=0)
    assert [row.id for row in rows] == [first.id, second.id]
    assert rows[0].metrics == Metrics.worst()
    assert "no mesh, only samples" in (rows[0].failure or "")
    assert rows[1].failure is None
    assert rows[1].metrics == whole[1].metrics
    document = read_strictly(tmp_path / "report" / "metrics.json")
    assert (document["count"], document["failures"]) == (2, 1)
    assert document["mean"]["iou"] == pytest.approx(rows[1].metrics.iou / 2)
    assert document["rows"][0]["azimuth_deg"] is None
    # The time of a completion is that of the one that there was.
    assert document["median_seconds"] == rows[1].seconds
    (line,) = [
        line for line in (tmp_path / "report" / "report.md").read_text().splitlines() if f"| {first.id} |" in line
    ]
    assert "no mesh, only samples" in line
    assert [path.stem for path in (tmp_path / "report" / "meshes").iterdir()] == [second.id]


def test_imported_samples_alone_cannot_be_evaluated_and_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (2000, 3))
    rows = np.column_stack([points, sphere_sdf(points, radius=0.9)]).astype(np.float32)
    for name in ("first", "second", "third"):
        path = tmp_path / "imported" / "SdfSamples" / "ours" / "ball" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, pos=rows[rows[:, 3] > 0], neg=rows[rows[:, 3] <= 0])
    config = PrepareConfig(sampling=SamplingConfig.deepsdf(1000))
    data = prepare_dataset(tmp_path / "imported", tmp_path / "data", config=config, seed=0, workers=0)
    assert len(data.split("test")) == 1
    with pytest.raises(DatasetError, match="1 shapes of split 'test' and no mesh, only samples"):
        evaluate_prior(hasty(), data, tmp_path / "report", config=FAST, seed=0)
    arguments = ["evaluate", "mug", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "report")]
    monkeypatch.setattr(sys, "argv", ["shapeprior", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shapeprior:")]
    assert line.startswith(f"shapeprior: {tmp_path / 'data'}: 1 shapes of split 'test' and no mesh")
    assert line.endswith("evaluate on a data set prepared from meshes")
    assert not (tmp_path / "report").exists()


def test_settings_outside_their_range_are_refused() -> None:
    for fields, text in (
        ({"split": "val"}, "split 'val'"),
        ({"placement": "guessed"}, "placement 'guessed'"),
        ({"max_shapes": 0}, "max_shapes = 0"),
        ({"view_resolution": 0}, "view_resolution = 0"),
    ):
        with pytest.raises(ConfigError, match=text):
            dataclasses.replace(FAST, **fields)


def test_views_are_decided_by_seed_and_shape(tiny_data: Dataset) -> None:
    first, second = (shape.id for shape in tiny_data.split("test"))
    truth = load_truth(tiny_data, first)
    view, azimuth, elevation = evaluated_view(truth, first, resolution=32, seed=0)
    again, *angles = evaluated_view(truth, first, resolution=32, seed=0)
    np.testing.assert_array_equal(view.points_world, again.points_world)
    assert angles == [azimuth, elevation]
    assert evaluated_view(truth, first, resolution=32, seed=1)[1:] != (azimuth, elevation)
    assert evaluated_view(truth, second, resolution=32, seed=0)[1:] != (azimuth, elevation)
    # In the unit frame of the shape, where the evaluation says the placement is known.
    assert np.abs(truth.distance(view.points_world)).max() < 1e-6


def test_progress_refusals_and_the_first_so_many(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, refused=(BROKEN,))
    seen: list[tuple[str, int, int]] = []
    rows = evaluate_prior(
        hasty(PositiveDecoder()),
        data,
        tmp_path,
        config=dataclasses.replace(FAST, max_shapes=1),
        seed=0,
        progress=lambda row, number, count: seen.append((row.id, number, count)),
    )
    assert seen == [(rows[0].id, 1, 1)]
    assert rows[0].id == data.split("test")[0].id
    assert "broken.obj: open" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert read_strictly(tmp_path / "metrics.json")["refused"] == [dataclasses.asdict(BROKEN)]


@pytest.mark.slow
def test_pictures_and_estimated_placement(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, pictures=True, placement="estimated")
    rows = evaluate_prior(ellipsoid_prior(), tiny_data, tmp_path, config=config, seed=0)
    assert all(row.failure is None for row in rows)
    for row in rows:
        assert (tmp_path / "pictures" / f"{row.id}.png").stat().st_size > 1000
    assert read_strictly(tmp_path / "metrics.json")["settings"]["placement"] == "estimated"
