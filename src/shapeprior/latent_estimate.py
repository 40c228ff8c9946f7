"""What the solver finds, and how well it explains the view."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.geometry.transforms import Similarity
from shapeprior.hypothesis import Hypothesis
from shapeprior.models.decoder import Decoder
from shapeprior.observed_samples import ObservedSamples
from shapeprior.verdict import Verdict, judge

SLOPE_POINTS = 1000
"""Points at which the field's slope is compared with the view's normals, at most."""


@dataclass(frozen=True, kw_only=True)
class PlacementDeviations:
    """Standard deviations of a placement that was found, by the curvature of the solver's objective there (Laplace's method),
    times `shapeprior.infer.MODEL_ERROR`."""

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
    left_out: float
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
    slope_error: float
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
            slope_error=self.slope_error,
            normal_agreement=self.normal_agreement,
            scale_deviation=None if self.deviations is None else self.deviations.scale,
            alternatives=len(self.alternatives),
            left_out=self.left_out,
        )


def latent_estimate(
    guess: Hypothesis,
    samples: ObservedSamples,
    *,
    decoder: Decoder,
    code: Float[Tensor, "code"],
    T_sample_world: Similarity,
    left_out: float,
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
    _, slope = decoder.slope(prepared, points[rows])
    normals = torch.from_numpy(moved.apply_vectors(samples.normals)).to(code)[rows]
    cosines = torch.nn.functional.cosine_similarity(slope, normals, dim=1)
    return LatentEstimate(
        code=code,
        T_unit_world=moved @ T_sample_world,
        residual=float(residuals.median()),
        points=len(points),
        left_out=left_out,
        explained=float((residuals < 0.02).float().mean()),
        violated=float(filled.float().mean()),
        code_length=float(guess.whitened.square().mean().sqrt()),
        slope_error=float((slope.norm(dim=1) - 1.0).abs().mean()),
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
