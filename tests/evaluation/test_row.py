"""Rows of an evaluation: predictions that fail or are wrong never improve a mean, and rows are made again when
needed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.ellipsoids import PositiveDecoder
from helpers.evaluated_prior import FAST, Hasty, hasty, read_strictly

from shapeprior.completion.result import Completion
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError, ScanError
from shapeprior.evaluation import evaluate
from shapeprior.evaluation import row as row_module
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.evaluation.ground_truth import ShapeView
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.evaluation.summary import find_summary
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode


class FailsOnce(Hasty):
    """Fails for the first shape, as a solver without a result does."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        if not getattr(self, "failed", False):
            object.__setattr__(self, "failed", True)
            raise CompletionError("no surface | NaN\nexpected one")
        return super().complete(view, **kwargs)


class Distorts(Hasty):
    """Completes the view, and then damages the mesh."""

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


@pytest.mark.slow
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
        # A large mesh may lean less, be smoother, and be as whole.
        if reason or one["metric"] not in ("normal_consistency", "edge_normal_deg", "roughness_deg"):
            badness = METRIC_DEFINITIONS[one["metric"]].badness
            for statistic in ("mean", "median", "p90"):
                assert badness(two[statistic]) >= badness(one[statistic]) - 1e-9, (one["metric"], statistic)


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
    monkeypatch.setattr(row_module, "_case_cache", {})
    rows = evaluate_prior(hasty(), tiny_data, tmp_path, config=FAST, seed=0)["rows"]
    assert all(row["failure"] == "no pixel shows the object" and row["views"] == [] for row in rows)
    assert all(row["unseen"]["chamfer_l1"] == 2.0 for row in read_strictly(tmp_path / "metrics.json")["rows"])


def test_a_shape_without_a_mesh_is_a_row_and_the_others_are_evaluated(tiny_data: Dataset, tmp_path: Path) -> None:
    """A data set looks like this after an import of DeepSDF's samples to which meshes were added."""
    first, second = tiny_data.split("test")
    bare = dataclasses.replace(first, mesh_sha256=None, T_unit_world=None, confidence=None)
    data = dataclasses.replace(tiny_data, shapes=(bare, second))
    rows = evaluate_prior(hasty(), data, tmp_path / "report", config=FAST, seed=0)["rows"]
    assert [row["id"] for row in rows] == [first.id, second.id]
    assert "no mesh, only samples" in rows[0]["failure"]
    assert rows[1]["failure"] is None


@pytest.mark.slow
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


class KnowsPlacement(Hasty):
    """Knows where the view was moved to, and completes it as if it had found that placement."""

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        placement = kwargs.pop("placement", None)
        if placement is None:
            return super().complete(view, **kwargs)
        T_world_unit = placements[-1]
        return super().complete(view, **{**kwargs, "T_unit_world": T_world_unit.inverse()})


placements: list[Similarity] = []


@pytest.mark.slow
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
    prior_with_placement = KnowsPlacement(prior.decoder, prior.codes, prior.config)
    known = evaluate_prior(prior_with_placement, tiny_data, tmp_path / "known", config=FAST, seed=0)
    config = dataclasses.replace(FAST, placement=placement)
    drawn = evaluate_prior(prior_with_placement, tiny_data, tmp_path / "drawn", config=config, seed=0)
    for one, two in zip(known["rows"], drawn["rows"], strict=True):
        assert one["failure"] is None is two["failure"]
        for name in ("iou", "chamfer_l1", "mesh_accuracy"):
            assert two["metrics"][name] == pytest.approx(one["metrics"][name], rel=0.05, abs=0.02)
    assert max(abs(np.log(found.scale)) for found in placements) > 0.02


@pytest.mark.slow
def test_pictures_are_written_of_the_prior(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, pictures=True, max_shapes=1)
    (row,) = evaluate_prior(hasty(), tiny_data, tmp_path, config=config, seed=0)["rows"]
    assert (tmp_path / "pictures" / "view-1-clean" / f"{row['id']}.png").stat().st_size > 1000
