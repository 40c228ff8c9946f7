"""The solver's result, and the verdict on it: does the shape that was found explain the scan?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.fitting import FitProblem, FitState
from shapeprior.geometry.transforms import Similarity

VerdictKind = Literal["explained", "doubtful", "unexplained"]

NEAR_SURFACE = 0.02
"""Observed points are explained if |f| is below this, in unit-sphere radii."""
INSIDE_MARGIN = 0.01
"""Free points are violated if f is below minus this, in unit-sphere radii."""
MAX_FREE_POINTS = 4096
"""Largest number of free points at which the result is measured."""
MAX_GRADIENT_POINTS = 1000
"""Largest number of observed points at which the field's gradient is compared with the view's normals."""

# Limits of the verdict. Where there are two, a fit is good up to the first and explains nothing beyond the second.
MIN_POINTS = 50
"""Fewer observed points do not tell shapes apart."""
EXPLAINED_SHARE = (0.95, 0.7)
"""Shares of observed points that are explained."""
VIOLATED_SHARE = (0.02, 0.1)
"""Shares of the free points that the shape fills."""
CODE_LENGTH = (1.15, 2.5)
"""Root mean squares of the code's whitened coordinates. They are about 1 for shapes of the category."""
EXTENT = (0.6, 0.2)
"""Extents of the observed points, in unit-sphere radii. Below the first, the size of the object is uncertain. Below the
second, any surface explains the points."""
MIN_THICKNESS = 0.04
"""Thinner point sets (`LatentEstimate.thickness`) lie in a plane, which any shape with a flat side explains. 200 single
views of unseen shapes of the five families have 0.073 or more."""
EIKONAL_ERROR = (0.4, 0.6)
"""Mean deviations of the gradient's length from 1 at the observed points. A code far from all shapes can have a field
that is zero at any scan's points, but this field is no solid's signed distance."""
NORMAL_AGREEMENT = (0.7, 0.3)
"""Mean cosines between the scan's normals and the shape's."""
MAX_OUTLIER_SHARE = 0.3
"""Scans with a larger share of points apart from the object may show something else, too."""
MAX_SCALE_DEVIATION = 0.05
"""With a larger standard deviation of the scale, the scan does not tell how large the object is."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a completion can be believed, as far as this can be told without the truth."""

    kind: VerdictKind
    """explained: the shape is where the scan is. doubtful: in part. unexplained: the mesh means nothing."""
    reasons: tuple[str, ...]
    """What speaks against the shape, in words. Empty if nothing does."""


@dataclass(frozen=True, kw_only=True)
class PlacementDeviations:
    """Standard deviations of a placement that was found.

    They come from the curvature of the solver's objective (Laplace's method), multiplied by
    `shapeprior.completion.solver.MODEL_ERROR`.
    """

    scale: float
    """Standard deviation of the logarithm of the scale."""
    offset: float
    """Standard deviation of each coordinate of the unit frame's origin, in unit-sphere radii."""
    turn_deg: float
    """Standard deviation of the turn, in degrees. 0 where the turn was known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentEstimate:
    """The code that explains a view best, where the object lies, and how well it explains the view."""

    code: Float[Tensor, "code"]
    T_unit_world: Similarity
    """The given placement, or the one that was found."""
    residual: float
    """Median |f| at the observed points, in unit-sphere radii."""
    points: int
    """Number of observed points that this and the next numbers are measured at. At most 4,096."""
    outlier_share: float
    """Share of the view's points that lie apart from the others and were left out."""
    explained: float
    """Share of observed points with |f| below 0.02."""
    violated: float
    """Share of the points that were seen to be free with f below -0.01, so that the shape fills them."""
    code_length: float
    """Root mean square of the code's whitened coordinates. It is about 1 for training shapes."""
    objective: float
    """Value of the solver's objective."""
    extent: float
    """Largest extent of the observed points along an axis, in unit-sphere radii."""
    thickness: float
    """Spread of the observed points across the plane that fits them best, as a share of the lesser spread in the plane.
    Spreads are standard deviations. It is 0 if all points lie in one plane."""
    eikonal_error: float
    """Mean of | |∇f| - 1 | at the observed points. It is 0 for a signed distance."""
    normal_agreement: float | None
    """Mean cosine between the view's normals and ∇f. None if neither normals nor a sensor are known."""
    deviations: PlacementDeviations | None
    """How well the placement is known. None where it was given."""
    alternatives: "tuple[LatentEstimate, ...]" = ()
    """Other shapes or placements that explain the view nearly as well, the best first: for example a mug with a hidden
    handle, turned to the other side. A symmetric shape in another turn has the same surface and is no alternative."""

    @property
    def verdict(self) -> Verdict:
        """Whether the shape explains the view."""
        return judge(self)


def judge(estimate: LatentEstimate) -> Verdict:
    """Return the verdict on an estimate."""
    doubts = _doubts(estimate)
    faults = []
    agreement = 1.0 if estimate.normal_agreement is None else estimate.normal_agreement
    # Each row holds a number that is worse the larger it is, its two limits, and the words for it.
    for value, good, bad, words in (
        (
            1.0 - estimate.explained,
            *(1.0 - share for share in EXPLAINED_SHARE),
            f"only {estimate.explained:.0%} of the points lie on the shape",
        ),
        (
            estimate.violated,
            *VIOLATED_SHARE,
            f"the shape fills {estimate.violated:.0%} of the space that was seen to be free",
        ),
        (
            estimate.code_length,
            *CODE_LENGTH,
            f"the shape is {estimate.code_length:.1f} times as far from the mean as training shapes are",
        ),
        (
            estimate.eikonal_error,
            *EIKONAL_ERROR,
            f"beside the points, the field is {estimate.eikonal_error:.0%} off a distance",
        ),
        (
            -agreement,
            *(-limit for limit in NORMAL_AGREEMENT),
            f"the scan's normals and the shape's agree by {agreement:.2f} only, where 1 is the same",
        ),
        (
            -estimate.extent,
            *(-limit for limit in EXTENT),
            f"the scan's points span {estimate.extent / 2:.0%} of the object's size",
        ),
    ):
        if value > bad:
            faults.append(words)
        elif value > good:
            doubts.append(words)
    kind: VerdictKind = "unexplained" if faults else "doubtful" if doubts else "explained"
    return Verdict(kind=kind, reasons=tuple(faults + doubts))


def _doubts(estimate: LatentEstimate) -> list[str]:
    """Return what makes an estimate doubtful without being measured against a worst limit."""
    doubts, count = [], len(estimate.alternatives)
    if estimate.points < MIN_POINTS:
        doubts.append(f"{estimate.points} points; {MIN_POINTS} are the fewest that tell shapes apart")
    if estimate.thickness < MIN_THICKNESS:
        doubts.append("the scan's points lie in a plane, which any shape with a flat side explains")
    if estimate.outlier_share > MAX_OUTLIER_SHARE:
        doubts.append(f"{estimate.outlier_share:.0%} of the scan's points lie apart from the others and were left out")
    if count:
        others = "another answer fits" if count == 1 else f"{count} other answers fit"
        doubts.append(f"{others} the scan nearly as well: it does not show which is right")
    if estimate.deviations is not None and estimate.deviations.scale > MAX_SCALE_DEVIATION:
        doubts.append(f"the scan tells the object's size to {estimate.deviations.scale:.0%} only (standard deviation)")
    return doubts


def estimate_of(
    fit: FitState, problem: FitProblem, *, outlier_share: float, deviations: PlacementDeviations | None
) -> LatentEstimate:
    """Measure a fit on all samples of its view."""
    decoder, code, samples = problem.decoder, problem.code(fit), problem.samples
    T_unit_sample = fit.pose.similarity
    points, free = (
        torch.from_numpy(T_unit_sample.apply(part)).to(code)
        for part in (samples.surface, samples.free[:MAX_FREE_POINTS])
    )
    with torch.no_grad():
        prepared = decoder.prepare(code[None])
        distances = decoder.query(prepared, points[None]).abs()[0]
        filled = decoder.query(prepared, free[None])[0] < -INSIDE_MARGIN if len(free) else torch.zeros(1)
    rows = torch.linspace(0, len(points) - 1, min(len(points), MAX_GRADIENT_POINTS), device=points.device).long()
    _, gradient = decoder.gradient(prepared, points[rows])
    normals = torch.from_numpy(T_unit_sample.apply_vectors(samples.normals)).to(code)[rows]
    cosines = torch.nn.functional.cosine_similarity(gradient, normals, dim=1)
    return LatentEstimate(
        code=code,
        T_unit_world=T_unit_sample @ problem.T_sample_world,
        residual=float(distances.median()),
        points=len(points),
        outlier_share=outlier_share,
        explained=float((distances < NEAR_SURFACE).float().mean()),
        violated=float(filled.float().mean()),
        code_length=float(fit.whitened.square().mean().sqrt()),
        objective=fit.objective,
        extent=float((points.amax(dim=0) - points.amin(dim=0)).max()),
        thickness=_thickness(samples.surface),
        eikonal_error=float((gradient.norm(dim=1) - 1.0).abs().mean()),
        normal_agreement=float(cosines.mean()) if bool(normals.any()) else None,
        deviations=deviations,
    )


def _thickness(points: Float[np.ndarray, "points 3"]) -> float:
    around = points - points.mean(axis=0)
    least, lesser, _ = np.sqrt(np.maximum(np.linalg.eigvalsh(around.T @ around), 0.0))
    return float(least / lesser) if lesser > 0.0 else 0.0
