"""Whether a completion can be believed: does the shape that was found explain the scan?"""

from dataclasses import dataclass
from typing import Literal

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
"""Thickness of the observed points (`shapeprior.latent_estimate.LatentEstimate.thickness`) below which they lie in a plane, which
any shape with a flat side explains: 200 single views of unseen shapes of the five families have 0.073 or more."""
SLOPE_ERROR = (0.4, 0.6)
"""Mean deviations of the field's slope from 1 at the observed points: up to the first the field is a distance there, above the
second none. Codes far from all shapes can be found whose field is zero at any scan's points, but it is no solid's distance."""
NORMAL_AGREEMENT = (0.7, 0.3)
"""Mean cosines between the scan's normals and the shape's: from the first they agree, below the second they do not."""

MAX_LEFT_OUT = 0.3
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
    slope_error: float,
    normal_agreement: float | None,
    scale_deviation: float | None,
    alternatives: int,
    left_out: float,
) -> Verdict:
    """The verdict on a fit, from what the solver reports of it (`shapeprior.infer.LatentEstimate`)."""
    doubts, faults = [], []
    agreement = 1.0 if normal_agreement is None else normal_agreement
    if points < MIN_POINTS:
        doubts.append(f"{points} points; {MIN_POINTS} are the fewest that tell shapes apart")
    if thickness < MIN_THICKNESS:
        doubts.append("the scan's points lie in a plane, which any shape with a flat side explains")
    if left_out > MAX_LEFT_OUT:
        doubts.append(f"{left_out:.0%} of the scan's points lie apart from the others and were left out")
    if alternatives:
        what = "another answer fits" if alternatives == 1 else f"{alternatives} other answers fit"
        doubts.append(f"{what} the scan nearly as well: it does not show which is right")
    if scale_deviation is not None and scale_deviation > MAX_SCALE_DEVIATION:
        doubts.append(f"the scan tells the object's size to {scale_deviation:.0%} only (standard deviation)")
    for wrong, good, none, words in (
        (1.0 - explained, 1.0 - EXPLAINED[0], 1.0 - EXPLAINED[1], f"{explained:.0%} of the points lie on the shape"),
        (violated, *VIOLATED, f"the shape fills {violated:.0%} of the space that was seen to be free"),
        (code_length, *FAR_CODE, f"the shape is {code_length:.1f} times as far from the mean as training shapes are"),
        (slope_error, *SLOPE_ERROR, f"beside the points, the field is {slope_error:.0%} off a solid's distance"),
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
