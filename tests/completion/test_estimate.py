"""Verdicts on numbers of fits, and on fits of real priors to scans that are none of theirs."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shapeprior.completion.estimate import LatentEstimate, PlacementDeviations, Verdict, judge
from shapeprior.completion.registry import bundled_priors, load
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.observation import Observation

RANK = {"explained": 0, "doubtful": 1, "unexplained": 2}


def verdict_on(*, scale_deviation: float | None = 0.02, alternatives: int = 0, **change: Any) -> Verdict:
    """The verdict on a good fit with some of its numbers changed."""
    deviations = None
    if scale_deviation is not None:
        deviations = PlacementDeviations(scale=scale_deviation, offset=0.0, turn_deg=0.0)
    numbers: dict[str, Any] = {
        "residual": 0.002,
        "points": 3000,
        "outlier_share": 0.1,
        "explained": 0.99,
        "violated": 0.001,
        "code_length": 0.8,
        "objective": 0.01,
        "extent": 1.4,
        "thickness": 0.3,
        "eikonal_error": 0.1,
        "normal_agreement": 0.95,
    }
    fit = LatentEstimate(
        code=torch.zeros(1), T_unit_world=Similarity.identity(), deviations=deviations, **{**numbers, **change}
    )
    return judge(dataclasses.replace(fit, alternatives=(fit,) * alternatives))


def test_a_good_fit_has_no_reasons() -> None:
    for change in ({}, {"normal_agreement": None}, {"scale_deviation": None}, {"code_length": 1.1}):
        verdict = verdict_on(**change)
        assert (verdict.kind, verdict.reasons) == ("explained", ()), change


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"points": 10}, "doubtful", "10 points"),
        ({"explained": 0.8}, "doubtful", "80% of the points lie on the shape"),
        ({"explained": 0.5}, "unexplained", "50% of the points"),
        ({"violated": 0.05}, "doubtful", "fills 5% of the space"),
        ({"violated": 0.3}, "unexplained", "fills 30% of the space"),
        ({"code_length": 1.8}, "doubtful", "1.8 times as far"),
        ({"code_length": 1.2}, "doubtful", "1.2 times as far"),
        ({"eikonal_error": 0.5}, "doubtful", "50% off a distance"),
        ({"eikonal_error": 0.9}, "unexplained", "90% off"),
        ({"normal_agreement": 0.5}, "doubtful", "agree by 0.50 only"),
        ({"normal_agreement": -0.2}, "unexplained", "agree by -0.20"),
        ({"extent": 0.4}, "doubtful", "span 20% of the object's size"),
        ({"extent": 0.1}, "unexplained", "span 5% of"),
        ({"code_length": 4.0}, "unexplained", "4.0 times as far"),
        ({"scale_deviation": 0.08}, "doubtful", "size to 8% only"),
        ({"thickness": 0.01}, "doubtful", "points lie in a plane"),
        ({"outlier_share": 0.45}, "doubtful", "45% of the scan's points lie apart"),
        ({"alternatives": 1}, "doubtful", "another answer fits"),
        ({"alternatives": 3}, "doubtful", "3 other answers fit"),
    ],
)
def test_what_speaks_against_a_fit_is_said(change: dict[str, Any], kind: str, words: str) -> None:
    verdict = verdict_on(**change)
    assert verdict.kind == kind
    assert len(verdict.reasons) == 1
    assert words in verdict.reasons[0]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 6), st.floats(0, 0.2))
def test_a_worse_fit_never_has_a_better_verdict(explained: float, violated: float, length: float, worse: float) -> None:
    before = verdict_on(
        points=500,
        explained=explained,
        violated=violated,
        code_length=length,
        extent=0.7,
        thickness=0.06,
        eikonal_error=0.3,
        normal_agreement=0.8,
        scale_deviation=0.04,
        alternatives=0,
        outlier_share=0.2,
    )
    after = verdict_on(
        points=500,
        explained=explained - worse,
        violated=violated + worse,
        code_length=length + worse,
        extent=0.7 - worse,
        thickness=0.06 - worse,
        eikonal_error=0.3 + 2.0 * worse,
        normal_agreement=0.8 - 2.0 * worse,
        scale_deviation=0.04 + worse,
        alternatives=round(10 * worse),
        outlier_share=0.2 + worse,
    )
    assert RANK[after.kind] >= RANK[before.kind]


def ball_seen_from_front() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(4000, 3))
    points *= 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return points[points[:, 2] > 0.1]


@pytest.mark.slow
def test_noise_a_plane_and_ten_points_are_not_believed() -> None:
    prior = load("airplane")
    rng = np.random.default_rng(1)
    eye = np.array([0.0, 0.0, 2.5])
    noise = Observation.from_points(rng.uniform(-0.7, 0.7, (3000, 3)), eye)
    wall = Observation.from_points(np.column_stack([rng.uniform(-0.9, 0.9, (3000, 2)), np.zeros(3000)]), eye)
    ball = Observation.from_points(ball_seen_from_front(), eye)
    for view in (noise, wall, ball):
        assert prior.infer(view, T_unit_world=Similarity.identity()).verdict.kind == "unexplained"
    few = Observation.from_points(ball_seen_from_front()[:10], eye)
    assert prior.infer(few, T_unit_world=Similarity.identity()).verdict.kind != "explained"


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled_priors())
def test_a_plane_is_believed_by_no_prior(name: str) -> None:
    """From in front and at a slant, its place known or not, clean and with noise of a thousandth of its distance."""
    prior, rng = load(name), np.random.default_rng(2)
    flat = np.column_stack([rng.uniform(-0.6, 0.6, (3000, 2)), np.zeros(3000)])
    slanted = Rotation.from_euler("xy", [30.0, 40.0], degrees=True).apply(flat)
    eye = np.array([0.0, 0.0, 4.0])
    for points in (flat, slanted, slanted + rng.normal(0.0, 0.004, flat.shape)):
        view = Observation.from_points(points, eye)
        assert prior.infer(view, T_unit_world=Similarity.identity()).verdict.kind != "explained"
        assert prior.infer(view, placement="aligned").verdict.kind != "explained"
