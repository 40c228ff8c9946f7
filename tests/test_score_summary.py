"""Summaries of rows: intervals against SciPy's bootstrap, and who counts."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, SPLIT_METRICS
from shapeprior.evaluation.summary import find_summary, summarize_rows


def row(value: float | None, *, method: str = "shapeprior", failure: str | None = None, **parts: Any) -> dict[str, Any]:
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
    entry = find_summary(summarize_rows([row(float(value)) for value in values], seed=0), "chamfer_l1")
    other = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    width = other.confidence_interval.high - other.confidence_interval.low
    assert entry["low"] == pytest.approx(other.confidence_interval.low, abs=0.1 * width)
    assert entry["high"] == pytest.approx(other.confidence_interval.high, abs=0.1 * width)
    assert entry["mean"] == pytest.approx(values.mean())
    assert entry["median"] == pytest.approx(np.median(values))


def test_the_tail_is_on_the_bad_side() -> None:
    rows = [row(value / 10) for value in range(11)]
    summary = summarize_rows(rows, seed=0)
    assert find_summary(summary, "chamfer_l1")["p90"] == pytest.approx(0.9)
    assert find_summary(summary, "iou")["p90"] == pytest.approx(0.1)


def test_the_same_seed_gives_the_same_numbers_whatever_else_there_is() -> None:
    rows = [row(value) for value in (0.1, 0.5, 0.3)]
    alone = summarize_rows(rows, seed=4)
    beside = summarize_rows([row(0.7, method="other"), *rows], seed=4)
    assert find_summary(alone, "iou") == find_summary(beside, "iou")
    assert find_summary(summarize_rows(rows, seed=5), "iou")["low"] <= find_summary(alone, "iou")["mean"]


def test_many_rows_are_resampled_in_pieces() -> None:
    values = np.random.default_rng(0).normal(1.0, 0.2, 3000)
    entry = find_summary(summarize_rows([row(float(value)) for value in values], seed=0), "iou")
    error = values.std() / np.sqrt(len(values))
    assert entry["high"] - entry["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_failures_count_and_what_no_truth_has_does_not() -> None:
    worst = {name: definition.worst for name, definition in METRIC_DEFINITIONS.items()}
    part = dict.fromkeys(SPLIT_METRICS, 0.5)
    rows = [
        row(0.1, seen=part),
        row(None, failure="crashed", metrics={**worst, "edge_normal_deg": None}, seen=part),
        row(0.3, unseen={**part, "edge_normal_deg": None}),
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
