"""Summaries of rows: intervals against SciPy's bootstrap, and the rows that count."""

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import bootstrap

from shapeprior.evaluation.methods import PlacementDifference
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, SPLIT_METRICS
from shapeprior.evaluation.summary import (
    find_summary,
    outcomes_html,
    outcomes_markdown,
    summarize_outcomes,
    summarize_rows,
)
from shapeprior.geometry.transforms import Similarity


def row(
    seconds: float | None, verdict: str | None, placement: tuple[float, float] | None, **rest: Any
) -> dict[str, Any]:
    place = None if placement is None else {"turn_deg": placement[0], "scale": placement[1], "offset": 0.0}
    condition = {"views": 1, "sensor": "clean"}
    return {
        "method": "shapeprior", "task": "view", "condition": condition, "seconds": seconds, "verdict": verdict,
        "placement": place, **rest,
    }  # fmt: skip


ROWS = [
    row(1.0, "explained", (3.0, 1.01)),
    row(2.0, "explained", (9.9, 1.2)),  # Only the turn is right.
    row(3.0, "doubtful", (170.0, 0.97)),  # Only the scale is right.
    row(9.0, None, None),  # A failure has neither.
]


def test_failures_count_as_wrong_and_unexplained() -> None:
    (found,) = summarize_outcomes(ROWS, placement_known=False)
    assert (found["count"], found["explained"]) == (4, 0.5)
    assert (found["turn_right"], found["scale_right"], found["placed_right"]) == (0.5, 0.5, 0.25)
    assert found["wrong_explained"] == pytest.approx(1 / 3)
    assert found["seconds_median"] == 2.5


def test_known_placements_are_neither_right_nor_wrong() -> None:
    (found,) = summarize_outcomes([row(1.0, "explained", None)], placement_known=True)
    assert found["explained"] == 1.0
    assert all(found[name] is None for name in ("turn_right", "scale_right", "placed_right", "wrong_explained"))


def test_methods_that_say_nothing_have_their_time_alone() -> None:
    other = {"method": "PCA", "verdict": None, "placement": None}
    found = summarize_outcomes([*ROWS, row(0.5, None, None) | other], placement_known=False)
    assert [entry["method"] for entry in found] == ["shapeprior", "PCA"]
    assert found[1]["seconds_median"] == 0.5
    assert found[1]["explained"] is None
    assert found[1]["placed_right"] is None
    text = "\n".join(outcomes_markdown(found))
    assert "| PCA | 1 | 0.50 | 0.50 | – | – | – | – | – |" in text
    assert "| shapeprior | 4 | 2.50 | 7.20 | 50 % | 50 % | 50 % | 25 % | 33 % |" in text


def test_names_do_not_become_markup() -> None:
    found = summarize_outcomes([ROWS[0] | {"method": "<b>prior</b>"}], placement_known=False)
    assert "<b>" not in outcomes_html(found)


def test_placement_differences_are_those_that_were_made() -> None:
    rng = np.random.default_rng(0)
    T_world_unit = Similarity(
        scale=0.8, rotation=Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), offset=rng.normal(size=3)
    )
    # The found unit frame lies in the true one turned, larger and shifted.
    T_unit_found = Similarity(
        scale=1.1, rotation=Rotation.from_rotvec([0.0, 0.0, 0.5]).as_matrix(), offset=np.array([0.3, 0.0, -0.4])
    )
    found = PlacementDifference.between((T_world_unit @ T_unit_found).inverse(), T_world_unit)
    assert found.turn_deg == pytest.approx(np.degrees(0.5))
    assert found.scale == pytest.approx(1.1)
    assert found.offset == pytest.approx(0.5)
    same = PlacementDifference.between(T_world_unit.inverse(), T_world_unit)
    assert same.turn_deg == pytest.approx(0.0, abs=1e-4)
    assert same.scale == pytest.approx(1.0)
    assert same.offset == pytest.approx(0.0, abs=1e-9)


def score_row(
    value: float | None, *, method: str = "shapeprior", failure: str | None = None, **parts: Any
) -> dict[str, Any]:
    return {
        "id": "a",
        "method": method,
        "task": "view",
        "condition": {"views": 1, "sensor": "clean"},
        "metrics": dict.fromkeys(METRIC_DEFINITIONS, value),
        "seen": None,
        "unseen": None,
        "failure": failure,
        **parts,
    }


def test_the_interval_is_that_of_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, 0.02, 60)
    entry = find_summary(summarize_rows([score_row(float(value)) for value in values], seed=0), "chamfer_l1")
    other = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    width = other.confidence_interval.high - other.confidence_interval.low
    assert entry["low"] == pytest.approx(other.confidence_interval.low, abs=0.1 * width)
    assert entry["high"] == pytest.approx(other.confidence_interval.high, abs=0.1 * width)
    assert entry["mean"] == pytest.approx(values.mean())
    assert entry["median"] == pytest.approx(np.median(values))


def test_the_tail_is_on_the_bad_side() -> None:
    rows = [score_row(value / 10) for value in range(11)]
    summary = summarize_rows(rows, seed=0)
    assert find_summary(summary, "chamfer_l1")["p90"] == pytest.approx(0.9)
    assert find_summary(summary, "iou")["p90"] == pytest.approx(0.1)
    # Where 1 is best, 0.1 is next to the worst of these, 2.5 is worse than 0, and 1.2 is better than 0.5.
    assert find_summary(summary, "thin_thickness")["p90"] == pytest.approx(0.1)
    ratios = summarize_rows([score_row(value) for value in (1.2, 0.5, 2.5, 0.0, 1.0)], seed=0)
    assert find_summary(ratios, "thin_thickness")["p90"] == pytest.approx(2.5)


def test_the_same_seed_gives_the_same_numbers_whatever_else_there_is() -> None:
    rows = [score_row(value) for value in (0.1, 0.5, 0.3)]
    alone = summarize_rows(rows, seed=4)
    beside = summarize_rows([score_row(0.7, method="other"), *rows], seed=4)
    assert find_summary(alone, "iou") == find_summary(beside, "iou")
    assert find_summary(summarize_rows(rows, seed=5), "iou")["low"] <= find_summary(alone, "iou")["mean"]


def test_many_rows_are_resampled_in_pieces() -> None:
    values = np.random.default_rng(0).normal(1.0, 0.2, 3000)
    entry = find_summary(summarize_rows([score_row(float(value)) for value in values], seed=0), "iou")
    error = values.std() / np.sqrt(len(values))
    assert entry["high"] - entry["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_failures_count_and_what_no_truth_has_does_not() -> None:
    worst = {name: definition.worst for name, definition in METRIC_DEFINITIONS.items()}
    part = dict.fromkeys(SPLIT_METRICS, 0.5)
    rows = [
        score_row(0.1, seen=part),
        score_row(None, failure="crashed", metrics={**worst, "edge_normal_deg": None}, seen=part),
        score_row(0.3, unseen={**part, "edge_normal_deg": None}),
    ]
    summary = summarize_rows(rows, seed=0)
    entry = find_summary(summary, "chamfer_l1")
    assert (entry["count"], entry["failures"]) == (3, 1)
    assert entry["mean"] == pytest.approx((0.1 + 2.0 + 0.3) / 3)
    edges = find_summary(summary, "edge_normal_deg")
    assert (edges["count"], edges["failures"]) == (2, 0)
    assert find_summary(summary, "fscore_1", part="seen")["count"] == 2
    assert find_summary(summary, "fscore_1", part="unseen")["count"] == 1
    with pytest.raises(KeyError, match="edge_normal_deg"):
        find_summary(summary, "edge_normal_deg", part="unseen")
    with pytest.raises(KeyError, match="iou"):
        find_summary(summary, "iou", part="seen")
