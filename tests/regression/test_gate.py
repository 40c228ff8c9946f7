"""No change makes the bundled priors' completions worse unnoticed; `python scripts/update_gate.py` stores new
figures."""

from pathlib import Path

import pytest
from regression.gate import MARGINS, RELATIVE, faults, measured, read_stored

from shapeprior.completion.registry import bundled_priors
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, OPTIONAL_METRICS


@pytest.mark.slow
def test_completions_are_as_good_as_they_were(tmp_path: Path) -> None:
    worse = faults(read_stored(), measured(tmp_path))
    assert not worse, "worse than the figures of tests/regression/gate.json:\n  " + "\n  ".join(worse)


def test_every_bundled_prior_has_stored_figures() -> None:
    stored = read_stored()
    assert sorted(stored) == sorted(bundled_priors())
    for figures in stored.values():
        assert set(METRIC_DEFINITIONS) - set(OPTIONAL_METRICS) <= set(figures) <= {*METRIC_DEFINITIONS, "failures"}
    assert set(MARGINS) == set(METRIC_DEFINITIONS)


def test_the_gate_closes_beyond_the_margin_and_says_by_how_much() -> None:
    for name in METRIC_DEFINITIONS:
        stored = {"mug": {"failures": 0, name: 0.5}}
        allowed = MARGINS[name] + RELATIVE * 0.5
        # 0.5 is below 1, so that higher is better where 1 is best.
        sign = 1.0 if METRIC_DEFINITIONS[name].better == "lower" else -1.0
        assert faults(stored, {"mug": {"failures": 0, name: 0.5 + 0.99 * sign * allowed}}) == []
        assert faults(stored, {"mug": {"failures": 0, name: 0.5 - sign * 0.4}}) == []
        (line,) = faults(stored, {"mug": {"failures": 0, name: 0.5 + 1.5 * sign * allowed}})
        assert f"mug {name}" in line
        assert f"worse by {1.5 * allowed:.4f}" in line
        assert len(faults(stored, {"mug": {"failures": 0, name: float("nan")}})) == 1
        assert faults(stored, {"mug": {"failures": 1, name: 0.5}}) == ["mug: 1 failures; stored 0"]
        assert len(faults(stored, {"mug": {"failures": 0}})) == 1
        assert len(faults(stored, {})) == 2
