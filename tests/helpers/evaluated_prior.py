"""A fast analytic prior for evaluations, and their smallest settings; not a test file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from helpers.ellipsoids import ellipsoid_prior

from shapeprior.completion.config import InferConfig
from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.result import Completion
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.metrics import MetricsConfig
from shapeprior.models.decoder import Decoder
from shapeprior.scans.observation import Observation

FAST = EvaluateConfig(
    tasks=("view",),
    view_resolution=48,
    resolution=32,
    baselines=(),
    pictures=False,
    metrics=MetricsConfig(surface_points=800, volume_points=1000, edge_points=800, emd_points=32),
)


def read_strictly(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}, which is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


class Hasty(ShapePrior):
    """A prior that takes few steps, since ellipsoids with two numbers are found soon and the tests are about
    bookkeeping.
    """

    def complete(self, view: Observation, **kwargs: Any) -> Completion:
        return super().complete(view, infer=InferConfig(steps=4), **kwargs)


def hasty(decoder: Decoder | None = None, ids: tuple[str, ...] = ()) -> Hasty:
    prior = ellipsoid_prior(decoder)
    names = (*ids, *prior.config.shape_ids)[: len(prior.codes)]
    return Hasty(prior.decoder, prior.codes, dataclasses.replace(prior.config, shape_ids=names))
