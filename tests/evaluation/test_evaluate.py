"""Evaluation on the tiny data set with an analytic prior: every row counts, and a run that was ended goes on."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.ellipsoids import PositiveDecoder, ellipsoid_prior
from helpers.plain_geometry import sphere_sdf

from shapeprior.cli.main import main
from shapeprior.completion.config import InferConfig
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.result import Completion
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import RefusedShape
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import CompletionError, ConfigError, DatasetError, ScanError
from shapeprior.evaluation import baselines, evaluate
from shapeprior.evaluation import row as row_module
from shapeprior.evaluation.config import EvaluateConfig, chosen_baselines, evenly, require_choice
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.evaluation.ground_truth import ShapeView, load_ground_truth, score
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, MetricsConfig
from shapeprior.evaluation.summary import find_summary
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import load_mesh
from shapeprior.models.decoder import Decoder
from shapeprior.models.presets import Preset, TrainConfig
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.parallel.worker import JobFailure
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode
from shapeprior.sdf.sampling import SamplingConfig
from shapeprior.training.train import train_prior

FAST = EvaluateConfig(
    tasks=("view",),
    view_resolution=48,
    resolution=32,
    baselines=(),
    pictures=False,
    metrics=MetricsConfig(surface_points=800, volume_points=1000, edge_points=800, emd_points=32),
)
ALL = dataclasses.replace(FAST, tasks=("codes", "full", "view"), baselines=None, training_shapes=2)
BROKEN = RefusedShape(id="broken", source="broken.obj", source_sha256="", kind="refused", reason="broken.obj: open")
ROW_KEYS = [
    "id", "method", "task", "condition", "views", "metrics", "seen", "unseen", "seconds", "verdict", "explained",
    "placement",
    "failure", "mesh", "truth", "observation",
]  # fmt: skip


def read_strictly(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}, which is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def without_times(document: dict[str, Any]) -> str:
    """The bytes of metrics.json but for times."""
    rows = [{**row, "seconds": None} for row in document["rows"]]
    outcomes = [{**entry, "seconds_median": None, "seconds_p90": None} for entry in document["outcomes"]]
    return json.dumps({**document, "seconds": None, "rows": rows, "outcomes": outcomes})


class Hasty(ShapePrior):
    """Takes few steps: what is tested is the bookkeeping, and ellipsoids with two numbers are soon found."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        return super().complete(view, infer=InferConfig(steps=4), **kwargs)


def hasty(decoder: Decoder | None = None, ids: tuple[str, ...] = ()) -> Hasty:
    prior = ellipsoid_prior(decoder)
    names = (*ids, *prior.config.shape_ids)[: len(prior.codes)]
    return Hasty(prior.decoder, prior.codes, dataclasses.replace(prior.config, shape_ids=names))


@pytest.fixture(scope="module")
def report(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """All tasks and baselines; of the training shapes, the prior claims to have codes of two."""
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
        # Boxes have edges and balls have none, whoever predicts them.
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
                # But for the noise of 1,000 points, and facets of a coarse grid.
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


class FailsOnce(Hasty):
    """Fails for the first shape, as a solver without a result does."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        if not getattr(self, "failed", False):
            object.__setattr__(self, "failed", True)
            raise CompletionError("no surface | NaN\nexpected one")
        return super().complete(view, **kwargs)


class Distorts(Hasty):
    """Completes, and then makes something else of the mesh."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        done = super().complete(view, **kwargs)
        return dataclasses.replace(done, mesh=self.other(done.mesh))

    def other(self, mesh: TriangleMesh) -> TriangleMesh:
        raise NotImplementedError


class Empties(Distorts):
    def other(self, mesh: TriangleMesh) -> TriangleMesh:
        return TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[:0])


class SpoilsOne(Distorts):
    def other(self, mesh: TriangleMesh) -> TriangleMesh:
        vertices = mesh.vertices.copy()
        vertices[7] = np.nan
        return TriangleMesh(vertices=vertices, faces=mesh.faces)


class Enlarges(Distorts):
    def other(self, mesh: TriangleMesh) -> TriangleMesh:
        return TriangleMesh(vertices=mesh.vertices * 1000.0, faces=mesh.faces)


class Breaks(Distorts):
    def other(self, mesh: TriangleMesh) -> TriangleMesh:
        raise ZeroDivisionError(f"a defect after {mesh.faces.shape[1]}")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Empties, "the predicted mesh is empty: 0 faces"),
        (SpoilsOne, "1 of "),
        (Breaks, "ZeroDivisionError: a defect after 3"),
        (Enlarges, None),
    ],
)
def test_no_average_improves_by_a_fault(
    kind: type[Hasty], reason: str | None, tiny_data: Dataset, tmp_path: Path
) -> None:
    prior = hasty()
    good = evaluate_prior(prior, tiny_data, tmp_path / "good", config=FAST, seed=0)
    bad = evaluate_prior(
        kind(prior.decoder, prior.codes, prior.config), tiny_data, tmp_path / "bad", config=FAST, seed=0
    )
    read_strictly(tmp_path / "bad" / "metrics.json")
    for row in bad["rows"]:
        assert (row["failure"] is None) == (reason is None)
        assert reason is None or reason in row["failure"]
        assert (row["mesh"] is None) == (reason is not None)
        for name, value in row["metrics"].items():
            worst = METRIC_DEFINITIONS[name].worst
            assert value is None or reason is None or value == worst
    assert len(bad["summary"]) == len(good["summary"])
    for one, two in zip(good["summary"], bad["summary"], strict=True):
        assert (one["metric"], one["part"], one["count"]) == (two["metric"], two["part"], two["count"])
        assert two["failures"] == (one["count"] if reason else 0)
        if reason or one["metric"] not in ("normal_consistency", "edge_normal_deg"):
            sign = 1 if METRIC_DEFINITIONS[one["metric"]].better == "lower" else -1
            for statistic in ("mean", "median", "p90"):
                assert sign * two[statistic] >= sign * one[statistic] - 1e-9, (one["metric"], statistic)


def test_a_failure_is_a_row_that_counts(tiny_data: Dataset, tmp_path: Path) -> None:
    prior = hasty()
    good = evaluate_prior(prior, tiny_data, tmp_path / "good", config=FAST, seed=0)
    document = evaluate_prior(
        FailsOnce(prior.decoder, prior.codes, prior.config), tiny_data, tmp_path / "bad", config=FAST, seed=0
    )
    rows = document["rows"]
    assert [row["failure"] for row in rows] == ["no surface | NaN\nexpected one", None]
    assert rows[1]["metrics"] == good["rows"][1]["metrics"]
    for name, definition in METRIC_DEFINITIONS.items():
        if rows[0]["metrics"][name] is not None and rows[1]["metrics"][name] is not None:
            expected = (definition.worst + good["rows"][1]["metrics"][name]) / 2
            entry = find_summary(document["summary"], name)
            assert entry["mean"] == pytest.approx(expected)
            assert (entry["count"], entry["failures"]) == (2, 1)
    lines = (tmp_path / "bad" / "report.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {rows[0]['id']} |")]
    assert line.replace("\\|", "").count("|") == len(METRIC_DEFINITIONS) + 6
    assert "1 failures" in "".join(lines)
    assert rows[0]["mesh"] is None
    assert (tmp_path / "bad" / rows[0]["truth"]).is_file()


def test_a_prior_without_any_surface_scores_worst(tiny_data: Dataset, tmp_path: Path) -> None:
    rows = evaluate_prior(hasty(PositiveDecoder()), tiny_data, tmp_path, config=FAST, seed=0)["rows"]
    assert len(rows) == 2
    assert all("positive" in row["failure"] and row["metrics"]["iou"] == 0.0 for row in rows)


def test_a_shape_that_cannot_be_viewed_is_a_row(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_view(*args: object, **kwargs: object) -> None:
        raise ScanError("no pixel shows the object")

    monkeypatch.setattr(row_module, "shape_view", no_view)
    monkeypatch.setattr(row_module, "_cases", {})
    rows = evaluate_prior(hasty(), tiny_data, tmp_path, config=FAST, seed=0)["rows"]
    assert all(row["failure"] == "no pixel shows the object" and row["views"] == [] for row in rows)
    assert all(row["unseen"]["chamfer_l1"] == 2.0 for row in read_strictly(tmp_path / "metrics.json")["rows"])


def test_a_shape_without_a_mesh_is_a_row_and_the_others_are_evaluated(tiny_data: Dataset, tmp_path: Path) -> None:
    """As after an import of DeepSDF's samples, to which meshes were added."""
    first, second = tiny_data.split("test")
    bare = dataclasses.replace(first, mesh_sha256=None, T_unit_world=None, confidence=None)
    data = dataclasses.replace(tiny_data, shapes=(bare, second))
    rows = evaluate_prior(hasty(), data, tmp_path / "report", config=FAST, seed=0)["rows"]
    assert [row["id"] for row in rows] == [first.id, second.id]
    assert "no mesh, only samples" in rows[0]["failure"]
    assert rows[1]["failure"] is None


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
    # Times are those of the run that made the row.
    again = evaluate_prior(hasty(), tiny_data, tmp_path / "ended", config=config, seed=0)
    assert again["rows"] == document["rows"]


def test_what_has_changed_is_made_again(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(job: row_module.RowJob) -> dict[str, Any]:
        made.append(job.shape_id)
        return row_module.evaluate_row(job)

    monkeypatch.setattr(evaluate, "evaluate_row", counted)
    prior, few = hasty(), dataclasses.replace(FAST, max_shapes=1)
    first = evaluate_prior(prior, tiny_data, tmp_path, config=few, seed=0)
    evaluate_prior(prior, tiny_data, tmp_path, config=few, seed=0)
    assert len(made) == 1
    (tmp_path / first["rows"][0]["mesh"]).unlink()
    evaluate_prior(prior, tiny_data, tmp_path, config=few, seed=0)
    assert len(made) == 2
    path = next((tmp_path / "rows").rglob("*.json"))
    path.write_text(path.read_text()[:50])
    evaluate_prior(prior, tiny_data, tmp_path, config=few, seed=0)
    assert len(made) == 3
    evaluate_prior(prior, tiny_data, tmp_path, config=dataclasses.replace(few, resolution=24), seed=0)
    assert len(made) == 4
    other = Hasty(prior.decoder, prior.codes + 0.01, prior.config)
    evaluate_prior(other, tiny_data, tmp_path, config=dataclasses.replace(few, resolution=24), seed=0)
    assert len(made) == 5


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


def test_conditions_are_views_and_sensors(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, views=(1, 3), sensors=("clean", "poor"), max_shapes=1)
    rows = evaluate_prior(hasty(), tiny_data, tmp_path, config=config, seed=0)["rows"]
    assert [(row["condition"]["views"], row["condition"]["sensor"], len(row["views"])) for row in rows] == [
        (1, "clean", 1), (1, "poor", 1), (3, "clean", 3), (3, "poor", 3),
    ]  # fmt: skip
    assert rows[0]["views"] == rows[1]["views"] == rows[2]["views"][:1]
    assert len({row["mesh"] for row in rows}) == 4


def test_without_training_shapes_the_baselines_know_what_the_prior_decodes(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("test"))
    config = dataclasses.replace(ALL, baselines=("nearest", "mean"), max_shapes=1, training_shapes=5)
    document = evaluate_prior(hasty(), data, tmp_path, config=config, seed=0)
    assert "5 training shapes as the prior decodes them" in document["methods"]["nearest training shape"]["text"]
    assert {row["method"] for row in document["rows"]} == {"shapeprior", "mean shape", "nearest training shape"}
    assert all(row["failure"] is None and row["task"] != "codes" for row in document["rows"])
    assert "no rows of the task codes" in document["methods"]["shapeprior"]["text"]


def test_a_baseline_without_its_library_is_named_or_refused(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    assert not baselines.has_poisson()
    config = dataclasses.replace(FAST, max_shapes=1, baselines=None, training_shapes=2)
    document = evaluate_prior(hasty(), tiny_data, tmp_path / "all", config=config, seed=0)
    assert document["methods"]["screened Poisson"]["not_run"] == "not run: pip install 'shapeprior[poisson]'"
    assert "pip install 'shapeprior[poisson]'" in (tmp_path / "all" / "report.md").read_text(encoding="utf-8")
    assert not any(row["method"] == "screened Poisson" for row in document["rows"])
    with pytest.raises(ConfigError, match=r"baseline poisson: pip install 'shapeprior\[poisson\]' is needed"):
        evaluate_prior(
            hasty(), tiny_data, tmp_path / "asked", config=dataclasses.replace(FAST, baselines=("poisson",)), seed=0
        )
    assert not (tmp_path / "asked").exists()


class Told(Hasty):
    """Is told where the view was moved to, and completes it as if it had found that."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        placement = kwargs.pop("placement", None)
        if placement is None:
            return super().complete(view, **kwargs)
        T_world_unit = placements[-1]
        return super().complete(view, **kwargs, T_unit_world=T_world_unit.inverse())


placements: list[Similarity] = []


@pytest.mark.parametrize("placement", ["aligned", "upright", "free"])
def test_who_finds_the_placement_that_was_drawn_scores_as_if_it_were_known(
    placement: PlacementMode, tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = ShapeView.transformed

    def watched(view: ShapeView, mode: str, *, rng: np.random.Generator) -> tuple[Observation, Similarity]:
        found = moved(view, mode, rng=rng)
        placements.append(found[1])
        return found

    monkeypatch.setattr(ShapeView, "transformed", watched)
    prior = hasty()
    told = Told(prior.decoder, prior.codes, prior.config)
    known = evaluate_prior(told, tiny_data, tmp_path / "known", config=FAST, seed=0)
    config = dataclasses.replace(FAST, placement=placement)
    drawn = evaluate_prior(told, tiny_data, tmp_path / "drawn", config=config, seed=0)
    for one, two in zip(known["rows"], drawn["rows"], strict=True):
        assert one["failure"] is None is two["failure"]
        for name in ("iou", "chamfer_l1", "mesh_accuracy"):
            assert two["metrics"][name] == pytest.approx(one["metrics"][name], rel=0.05, abs=0.02)
    assert max(abs(np.log(found.scale)) for found in placements) > 0.02


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


def test_an_empty_split_is_refused(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("train"))
    with pytest.raises(DatasetError, match="no shape in split 'test'"):
        evaluate_prior(hasty(), data, tmp_path / "out", config=FAST, seed=0)
    with pytest.raises(DatasetError, match="none of the prior's 25 training shapes"):
        evaluate_prior(hasty(), data, tmp_path / "out", config=dataclasses.replace(FAST, tasks=("codes",)), seed=0)
    with pytest.raises(ConfigError, match="in memory cannot be sent"):
        evaluate_prior(hasty(), tiny_data, tmp_path / "out", config=FAST, seed=0, workers=2)
    assert not (tmp_path / "out").exists()


def test_settings_outside_their_range_are_refused() -> None:
    for fields, text in (
        ({"tasks": ()}, "tasks = none"),
        ({"tasks": ("view", "view")}, "tasks = view, view"),
        ({"views": (0,)}, "views = "),
        ({"views": (2, 2)}, "views = "),
        ({"max_shapes": 0}, "max_shapes = 0"),
        ({"view_resolution": 0}, "view_resolution = 0"),
        ({"resolution": 1}, "resolution = 1"),
    ):
        with pytest.raises(ConfigError, match=text):
            dataclasses.replace(FAST, **fields)
    with pytest.raises(ConfigError, match="split = val; expected different ones of train, test"):
        require_choice("split", ("val",), ("train", "test"))
    assert chosen_baselines(()) is None
    assert chosen_baselines(("none",)) == ()
    assert chosen_baselines(("upper", "mean")) == ("mean", "upper")
    with pytest.raises(ConfigError, match="expected none alone"):
        chosen_baselines(("none", "pca"))
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("abc", None) == evenly("abc", 9) == ["a", "b", "c"]


def test_progress_and_refusals(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, refused=(BROKEN,))
    seen: list[tuple[int, int, str]] = []
    evaluate_prior(
        hasty(PositiveDecoder()), data, tmp_path, config=FAST, seed=0, progress=lambda *args: seen.append(args)
    )
    assert seen == [(n + 1, 2, shape.id) for n, shape in enumerate(data.split("test"))]
    assert "broken.obj: open" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pictures_are_written_of_the_prior(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, pictures=True, max_shapes=1)
    (row,) = evaluate_prior(hasty(), tiny_data, tmp_path, config=config, seed=0)["rows"]
    assert (tmp_path / "pictures" / "view-1-clean" / f"{row['id']}.png").stat().st_size > 1000


@pytest.mark.slow
def test_processes_make_the_same_rows(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, baselines=("mean",), max_shapes=1, training_shapes=2, meshes=False)
    here = evaluate_prior("bowl", tiny_data, tmp_path / "here", config=config, seed=0, workers=0, against=["can"])
    there = evaluate_prior("bowl", tiny_data, tmp_path / "there", config=config, seed=0, workers=1, against=["can"])
    assert [row["method"] for row in there["rows"]] == ["shapeprior", "can", "mean shape"]
    for one, two in zip(here["rows"], there["rows"], strict=True):
        assert one["failure"] == two["failure"]
        for name, value in one["metrics"].items():
            assert value == pytest.approx(two["metrics"][name], rel=0.05, abs=0.01)


def test_a_run_is_listed_with_the_time_that_its_training_took(tiny_data: Dataset, tmp_path: Path) -> None:
    recipe = Preset(
        decoder=TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16),
        train=TrainConfig(epochs=3, points_per_shape=64),
    )
    train_prior(tiny_data, tmp_path / "run", preset=recipe, seed=0)
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()][-1]
    config = dataclasses.replace(FAST, max_shapes=1, baselines=())
    document = evaluate_prior(
        hasty(), tiny_data, tmp_path / "out", config=config, seed=0, against=[tmp_path / "run"], workers=0
    )
    assert document["methods"]["run"]["text"].endswith(f"trained for 3 epochs in {seconds:.0f} s")
    assert "trained" not in document["methods"]["shapeprior"]["text"]
