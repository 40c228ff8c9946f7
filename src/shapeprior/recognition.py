"""Which of several priors a scan looks like: each is fitted to it, and the fits are compared."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from shapeprior.bundled import bundled_priors
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.latent_estimate import LatentEstimate
from shapeprior.prior import ShapePrior, load
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import Freedom

ORDER = {"explained": 0, "doubtful": 1, "unexplained": 2}


@dataclass(frozen=True, eq=False)
class Recognized:
    """What one prior makes of a scan."""

    name: str
    prior: ShapePrior
    estimate: LatentEstimate | None
    """None where no code of it gives a surface."""


def recognize(
    view: Observation,
    *,
    priors: Sequence[str | os.PathLike[str]] | None = None,
    T_unit_world: Similarity | None = None,
    placement: Freedom | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> list[Recognized]:
    """Fit every prior (the bundled ones if not given) to a view; the likeliest comes first.

    Those whose shapes explain the view come before those where that is doubtful; among these the better fit by the solver's
    objective, in which a shape that is unlike its category's counts against it. Arguments as for `ShapePrior.complete`, and so are
    the errors; ConfigError if there is no prior to try.
    """
    names = bundled_priors() if priors is None else priors
    if not names:
        raise ConfigError("no prior to recognise a scan with; expected at least one name or folder")
    found = []
    for name in names:
        prior = load(name, device=device)
        try:
            estimate = prior.infer(view, T_unit_world=T_unit_world, placement=placement, seed=seed)
        except CompletionError:
            estimate = None
        found.append(Recognized(str(name), prior, estimate))
    return sorted(found, key=_rank)


def _rank(found: Recognized) -> tuple[int, float]:
    if found.estimate is None:
        return len(ORDER), 0.0
    return ORDER[found.estimate.verdict.kind], found.estimate.objective
