"""Evaluation of an analytic prior on the tiny data set: every row counts, and an interrupted run continues."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.ellipsoids import PositiveDecoder
from helpers.evaluated_prior import FAST, hasty, read_strictly

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import RefusedShape
from shapeprior.evaluation import evaluate
from shapeprior.evaluation import row as row_module
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.evaluation.ground_truth import load_ground_truth, score
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.evaluation.summary import find_summary
from shapeprior.io.meshes import load_mesh
from shapeprior.parallel.worker import JobFailure

ALL = dataclasses.replace(FAST, tasks=("codes", "full", "view"), baselines=None, training_shapes=2)

BROKEN = RefusedShape(id="broken", source="broken.obj", source_sha256="", kind="refused", reason="broken.obj: open")

ROW_KEYS = [
    "id", "method", "task", "condition", "views", "metrics", "seen", "unseen", "seconds", "verdict", "explained",
    "placement",
    "failure", "mesh", "truth", "observation",
]  # fmt: skip


def without_times(document: dict[str, Any]) -> str:
    """Return the content of metrics.json without its times."""
    rows = [{**row, "seconds": None} for row in document["rows"]]
    outcomes = [{**entry, "seconds_median": None, "seconds_p90": None} for entry in document["outcomes"]]
    return json.dumps({**document, "seconds": None, "rows": rows, "outcomes": outcomes})


@pytest.fixture(scope="module")
def report(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Evaluate all tasks and baselines. The prior claims to have codes of two of the training shapes."""
    out = tmp_path_factory.mktemp("report")
    ids = tuple(shape.id for shape in tiny_data.split("train")[:2])
    return out, evaluate_prior(hasty(ids=ids), tiny_data, out, config=ALL, seed=0)


def test_every_method_has_a_row_of_every_shape(tiny_data: Dataset, report: tuple[Path, dict[str, Any]]) -> None:
    document = read_strictly(report[0] / "metrics.json")
    assert document == json.loads(json.dumps(report[1]))
    runnable = {name for name, method in document["methods"].items() if not method["not_run"]}
    expected = {
        "codes": {"shapeprior"},
        "full": {"shapeprior", "mean shape", "PCA", "upper bound"},
        "view": runnable,
    }
    unseen = {shape.id for shape in tiny_data.split("test")}
    known = {shape.id for shape in tiny_data.split("train")[:2]}
    for task, methods in expected.items():
        found = [(row["method"], row["id"]) for row in document["rows"] if row["task"] == task]
        assert len(found) == len(set(found))
        assert set(found) == {(name, shape) for name in methods for shape in (known if task == "codes" else unseen)}
    assert {"mean shape", "nearest training shape", "PCA", "upper bound", "screened Poisson"} < set(document["methods"])
    assert "2 shapes of the data set's split train" in document["methods"]["PCA"]["text"]
    assert all(list(row) == ROW_KEYS for row in document["rows"])
    assert list(document) == [
        "version", "prior", "data", "settings", "prior_settings", "machine", "versions", "seed", "seconds",
        "definitions", "methods", "rows", "summary", "outcomes", "training",
    ]  # fmt: skip


def test_rows_are_whole(report: tuple[Path, dict[str, Any]]) -> None:
    out, document = report
    for row in document["rows"]:
        assert row["failure"] is None
        assert set(row["metrics"]) == set(METRIC_DEFINITIONS)
        is_view = row["task"] == "view"
        assert row["condition"] == ({"views": 1, "sensor": "clean"} if is_view else {})
        assert len(row["views"]) == is_view
        assert (row["seen"] is not None) == is_view == (row["unseen"] is not None)
        assert (row["observation"] is not None) == is_view
        assert (row["verdict"] is not None) == (is_view and row["method"] == "shapeprior")
        for name in ("mesh", "truth"):
            assert len(load_mesh(out / row[name]).faces) > 100 or "box" in row["id"]
        # Boxes have sharp edges and balls have none, whatever is predicted.
        assert (row["metrics"]["edge_normal_deg"] is None) == (not row["id"].startswith("box"))


def test_written_meshes_are_what_was_scored(tiny_data: Dataset, report: tuple[Path, dict[str, Any]]) -> None:
    out, document = report
    for row in (row for row in document["rows"] if row["method"] in ("shapeprior", "PCA") and row["task"] == "view"):
        again = score(
            load_mesh(out / row["mesh"]), load_ground_truth(tiny_data, row["id"]), seed=0, config=FAST.metrics
        )
        assert again.iou == pytest.approx(row["metrics"]["iou"], abs=5e-3)
        assert again.chamfer_l1 == pytest.approx(row["metrics"]["chamfer_l1"], rel=1e-3)


def test_the_truth_is_the_upper_bound(report: tuple[Path, dict[str, Any]]) -> None:
    for task in ("full", "view"):
        rows = [row for row in report[1]["rows"] if row["task"] == task]
        for metric, sign in (("iou", 1), ("chamfer_l1", -1), ("fscore_2", 1)):
            best = {row["id"]: row["metrics"][metric] for row in rows if row["method"] == "upper bound"}
            for row in rows:
                # 0.02 is the noise of 1,000 points and of the facets of a coarse grid.
                assert sign * row["metrics"][metric] <= sign * best[row["id"]] + 0.02, (row["method"], metric)


def test_the_summary_is_that_of_the_rows(report: tuple[Path, dict[str, Any]]) -> None:
    document = report[1]
    for method in ("shapeprior", "PCA", "mean shape"):
        for metric in ("chamfer_l1", "iou"):
            column = [
                row["metrics"][metric] for row in document["rows"] if row["method"] == method and row["task"] == "view"
            ]
            entry = find_summary(document["summary"], metric, method=method)
            assert entry["mean"] == pytest.approx(sum(column) / 2)
            assert entry["median"] == pytest.approx(float(np.median(column)))
            assert min(column) <= entry["low"] <= entry["mean"] <= entry["high"] <= max(column)
            assert (entry["count"], entry["failures"]) == (2, 0)
    unseen = [row["unseen"]["fscore_1"] for row in document["rows"] if row["method"] == "PCA" and row["task"] == "view"]
    entry = find_summary(document["summary"], "fscore_1", method="PCA", part="unseen")
    assert entry["mean"] == pytest.approx(sum(unseen) / 2)


def test_the_report_and_the_table_say_the_same(report: tuple[Path, dict[str, Any]]) -> None:
    out, document = report
    text = (out / "report.md").read_text(encoding="utf-8")
    for name, definition in METRIC_DEFINITIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert definition.text in row
        assert definition.unit in row
    assert "## Unseen shapes, from partial views: 1 view, sensor clean" in text
    lines = (out / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(document["rows"])
    columns = lines[0].split(",")
    for line, row in zip(lines[1:], document["rows"], strict=True):
        cells = dict(zip(columns, line.split(","), strict=True))
        assert (cells["id"], cells["method"], cells["task"]) == (row["id"], row["method"], row["task"])
        assert float(cells["iou"]) == pytest.approx(row["metrics"]["iou"], rel=1e-6)
        seen = "" if row["seen"] is None else row["seen"]["fscore_1"]
        assert cells["seen_fscore_1"] == "" if seen == "" else float(cells["seen_fscore_1"]) == pytest.approx(seen)


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_and_ends_with_the_same_bytes(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(FAST, baselines=("upper",))
    whole = evaluate_prior(hasty(), tiny_data, tmp_path / "whole", config=config, seed=0)
    done: list[str] = []

    def until_three(job: row_module.RowJob) -> dict[str, Any]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(job.method)
        return row_module.evaluate_row(job)

    monkeypatch.setattr(evaluate, "evaluate_row", until_three)
    with pytest.raises(KeyboardInterrupt):
        evaluate_prior(hasty(), tiny_data, tmp_path / "ended", config=config, seed=0)
    assert not (tmp_path / "ended" / "metrics.json").exists()
    done[:] = ["two more", "may be done"]
    document = evaluate_prior(hasty(), tiny_data, tmp_path / "ended", config=config, seed=0)
    assert len(done) == 3
    assert without_times(document) == without_times(whole)
    # The times are those of the run that made the row.
    again = evaluate_prior(hasty(), tiny_data, tmp_path / "ended", config=config, seed=0)
    assert again["rows"] == document["rows"]


def test_a_row_whose_process_died_is_a_failure_and_is_tried_again(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(job: row_module.RowJob) -> dict[str, Any] | JobFailure:
        if job.shape_id == tiny_data.split("test")[0].id:
            return JobFailure(kind="crashed", reason="the process was ended by SIGSEGV, twice")
        return row_module.evaluate_row(job)

    monkeypatch.setattr(evaluate, "evaluate_row", dies)
    document = evaluate_prior(hasty(), tiny_data, tmp_path, config=FAST, seed=0)
    assert ["SIGSEGV" in (row["failure"] or "") for row in document["rows"]] == [True, False]
    assert find_summary(document["summary"], "fscore_1")["failures"] == 1
    monkeypatch.undo()
    assert all(
        row["failure"] is None for row in evaluate_prior(hasty(), tiny_data, tmp_path, config=FAST, seed=0)["rows"]
    )


def test_progress_and_refusals(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, refused=(BROKEN,))
    seen: list[tuple[int, int, str]] = []
    evaluate_prior(
        hasty(PositiveDecoder()), data, tmp_path, config=FAST, seed=0, progress=lambda *args: seen.append(args)
    )
    assert seen == [(n + 1, 2, shape.id) for n, shape in enumerate(data.split("test"))]
    assert "broken.obj: open" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_processes_make_the_same_rows(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, baselines=("mean",), max_shapes=1, training_shapes=2, meshes=False)
    here = evaluate_prior("bowl", tiny_data, tmp_path / "here", config=config, seed=0, workers=0, against=["can"])
    there = evaluate_prior("bowl", tiny_data, tmp_path / "there", config=config, seed=0, workers=1, against=["can"])
    assert [row["method"] for row in there["rows"]] == ["shapeprior", "can", "mean shape"]
    for one, two in zip(here["rows"], there["rows"], strict=True):
        assert one["failure"] == two["failure"]
        for name, value in one["metrics"].items():
            assert value is two["metrics"][name] is None or value == pytest.approx(
                two["metrics"][name], rel=0.05, abs=0.01
            )
