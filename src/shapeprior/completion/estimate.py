"""What the solver finds, and how well it explains the view.

Whether a completion can be believed: does the shape that was found explain the scan?
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.completion.fitting import FitState
from shapeprior.completion.residuals import ObservedSamples
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder

VerdictKind = Literal["explained", "doubtful", "unexplained"]

MIN_POINTS = 50
"""Fewer points do not tell shapes apart."""
EXPLAINED = (0.95, 0.7)
"""Shares of observed points within 2 % of the radius of the surface: from the first a fit is good, below the second it is none."""
VIOLATED = (0.02, 0.1)
"""Shares of space seen to be free that the shape fills: up to the first a fit is good, above the second it is none."""
FAR_CODE = (1.15, 2.5)
"""Root mean square of the code's coordinates in deviations of the training codes: up to the first it is a shape of its category,
above the second it is none."""
MIN_EXTENT = (0.6, 0.2)
"""Extents of the observed points in unit-sphere radii: below the first too little of the object was seen to tell its size,
below the second any surface explains them."""
MIN_THICKNESS = 0.04
"""Thickness of the observed points (`shapeprior.completion.estimate.LatentEstimate.thickness`) below which they lie in a plane, which
any shape with a flat side explains: 200 single views of unseen shapes of the five families have 0.073 or more."""
EIKONAL_ERROR = (0.4, 0.6)
"""Mean deviations of the field's slope from 1 at the observed points: up to the first the field is a distance there, above the
second none. Codes far from all shapes can be found whose field is zero at any scan's points, but it is no solid's distance."""
NORMAL_AGREEMENT = (0.7, 0.3)
"""Mean cosines between the scan's normals and the shape's: from the first they agree, below the second they do not."""

MAX_OUTLIER_SHARE = 0.3
"""Share of the scan's points that lie apart from the object, above which the scan may show something else, too."""
MAX_SCALE_DEVIATION = 0.05
"""Standard deviation of a placement's scale above which the scan does not tell how large the object is."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said of a completion without the truth."""

    kind: VerdictKind
    """explained: the shape is where the scan is; doubtful: in part; unexplained: the mesh means nothing."""
    reasons: tuple[str, ...]
    """What speaks against it, in words; empty if nothing does."""


def judge(
    *,
    points: int,
    explained: float,
    violated: float,
    code_length: float,
    extent: float,
    thickness: float,
    eikonal_error: float,
    normal_agreement: float | None,
    scale_deviation: float | None,
    alternatives: int,
    outlier_share: float,
) -> Verdict:
    """The verdict on a fit, from what the solver reports of it (`shapeprior.completion.solver.LatentEstimate`)."""
    doubts, faults = [], []
    agreement = 1.0 if normal_agreement is None else normal_agreement
    if points < MIN_POINTS:
        doubts.append(f"{points} points; {MIN_POINTS} are the fewest that tell shapes apart")
    if thickness < MIN_THICKNESS:
        doubts.append("the scan's points lie in a plane, which any shape with a flat side explains")
    if outlier_share > MAX_OUTLIER_SHARE:
        doubts.append(f"{outlier_share:.0%} of the scan's points lie apart from the others and were left out")
    if alternatives:
        what = "another answer fits" if alternatives == 1 else f"{alternatives} other answers fit"
        doubts.append(f"{what} the scan nearly as well: it does not show which is right")
    if scale_deviation is not None and scale_deviation > MAX_SCALE_DEVIATION:
        doubts.append(f"the scan tells the object's size to {scale_deviation:.0%} only (standard deviation)")
    for wrong, good, none, words in (
        (1.0 - explained, 1.0 - EXPLAINED[0], 1.0 - EXPLAINED[1], f"{explained:.0%} of the points lie on the shape"),
        (violated, *VIOLATED, f"the shape fills {violated:.0%} of the space that was seen to be free"),
        (code_length, *FAR_CODE, f"the shape is {code_length:.1f} times as far from the mean as training shapes are"),
        (eikonal_error, *EIKONAL_ERROR, f"beside the points, the field is {eikonal_error:.0%} off a solid's distance"),
        (
            -agreement,
            *(-value for value in NORMAL_AGREEMENT),
            f"the scan's normals and the shape's agree by {agreement:.2f} only, where 1 is the same",
        ),
        (-extent, *(-value for value in MIN_EXTENT), f"the scan's points span {extent / 2:.0%} of the object's size"),
    ):
        if wrong > none:
            faults.append(words)
        elif wrong > good:
            doubts.append(words)
    kind: VerdictKind = "unexplained" if faults else "doubtful" if doubts else "explained"
    return Verdict(kind=kind, reasons=tuple(faults + doubts))


SLOPE_POINTS = 1000
"""Points at which the field's slope is compared with the view's normals, at most."""


@dataclass(frozen=True, kw_only=True)
class PlacementDeviations:
    """Standard deviations of a placement that was found, by the curvature of the solver's objective there (Laplace's method),
    times `shapeprior.completion.solver.MODEL_ERROR`."""

    scale: float
    """Of the logarithm of the scale."""
    offset: float
    """Of each coordinate of the unit frame's origin, in unit-sphere radii."""
    turn_deg: float
    """Of the turn, in degrees; 0 where it was known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentEstimate:
    """The code that explains a view best, and where the object lies."""

    code: Float[Tensor, "code"]
    T_unit_world: Similarity
    """The given placement, or the one that was found."""
    residual: float
    """Median |f| at the observed points, in unit-sphere radii."""
    points: int
    """Observed points, 4,096 at most, which the next numbers are of."""
    outlier_share: float
    """Share of observed points that lie apart from the others and have no say (`shapeprior.scans.observation`)."""
    explained: float
    """Share of observed points with |f| below 0.02."""
    violated: float
    """Share of the points that were seen to be free with f below -0.01: the shape fills them."""
    code_length: float
    """Root mean square of the code's whitened coordinates: about 1 for training shapes."""
    objective: float
    """What the solver minimised."""
    extent: float
    """Largest distance between observed points along an axis, in unit-sphere radii."""
    thickness: float
    """Spread (standard deviation) of the observed points across the plane that fits them best, as a share of their lesser one in
    it: 0 where all lie in one plane."""
    eikonal_error: float
    """Mean of | |grad f| - 1 | at observed points: a distance grows as one goes, what a code far from all shapes gives does not."""
    normal_agreement: float | None
    """Mean cosine between the view's normals and the field's gradient; None where neither normals nor a sensor are known."""
    deviations: PlacementDeviations | None
    """How well the placement is known; None where it was given."""
    alternatives: "tuple[LatentEstimate, ...]" = ()
    """Other shapes or placements that explain the view nearly as well, the best first, such as a mug whose handle is hidden turned
    to the other side. The same surface in another place of a symmetric shape's turn is none."""

    @property
    def verdict(self) -> Verdict:
        """Whether the shape explains the view."""
        return judge(
            points=self.points,
            explained=self.explained,
            violated=self.violated,
            code_length=self.code_length,
            extent=self.extent,
            thickness=self.thickness,
            eikonal_error=self.eikonal_error,
            normal_agreement=self.normal_agreement,
            scale_deviation=None if self.deviations is None else self.deviations.scale,
            alternatives=len(self.alternatives),
            outlier_share=self.outlier_share,
        )


def latent_estimate(
    guess: FitState,
    samples: ObservedSamples,
    *,
    decoder: Decoder,
    code: Float[Tensor, "code"],
    T_sample_world: Similarity,
    outlier_share: float,
    deviations: PlacementDeviations | None,
) -> LatentEstimate:
    """The estimate of one guess, measured on all samples of the view, which are in the sample frame."""
    moved = guess.pose.similarity
    points, free = (torch.from_numpy(moved.apply(part)).to(code) for part in (samples.surface, samples.free[:4096]))
    with torch.no_grad():
        prepared = decoder.prepare(code[None])
        residuals = decoder.query(prepared, points[None]).abs()[0]
        filled = decoder.query(prepared, free[None])[0] < -0.01 if len(free) else torch.zeros(1)
    rows = torch.linspace(0, len(points) - 1, min(len(points), SLOPE_POINTS), device=points.device).long()
    _, slope = decoder.gradient(prepared, points[rows])
    normals = torch.from_numpy(moved.apply_vectors(samples.normals)).to(code)[rows]
    cosines = torch.nn.functional.cosine_similarity(slope, normals, dim=1)
    return LatentEstimate(
        code=code,
        T_unit_world=moved @ T_sample_world,
        residual=float(residuals.median()),
        points=len(points),
        outlier_share=outlier_share,
        explained=float((residuals < 0.02).float().mean()),
        violated=float(filled.float().mean()),
        code_length=float(guess.whitened.square().mean().sqrt()),
        eikonal_error=float((slope.norm(dim=1) - 1.0).abs().mean()),
        normal_agreement=float(cosines.mean()) if bool(normals.any()) else None,
        extent=float((points.amax(dim=0) - points.amin(dim=0)).max()),
        thickness=_thickness(samples.surface),
        objective=guess.objective,
        deviations=deviations,
    )


def _thickness(points: Float[np.ndarray, "points 3"]) -> float:
    around = points - points.mean(axis=0)
    least, lesser, _ = np.sqrt(np.maximum(np.linalg.eigvalsh(around.T @ around), 0.0))
    return float(least / lesser) if lesser > 0.0 else 0.0
