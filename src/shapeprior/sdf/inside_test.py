"""The inside test: which points a mesh encloses, by winding numbers and visibility.

Sources: Jacobson et al. 2013, "Robust inside-outside segmentation using generalized winding numbers"; Barill et al.
2018, "Fast winding numbers for soups and clouds". On open meshes, the evidence is gathered and decided for whole
regions of free space (`shapeprior.sdf.cavities`).
"""

from dataclasses import dataclass
from functools import cached_property

import igl
import numpy as np
from jaxtyping import Bool, Float

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions
from shapeprior.sdf.cavities import NO_REGION, OUTSIDE, FreeSpaceRegions

NUM_RAYS = 64
"""Rays from a point whose escape share is measured."""
NUM_SCREENING_RAYS = 16
"""Rays from a point in a first round, which settles most points."""
POINTS_PER_BATCH = 16_384
"""Points whose rays are cast together, which bounds the memory."""
MAX_VOTERS = 64
"""Points of a region, at most, that vote for it."""
NUM_SEAL_RAYS = 2048
"""Rays from each voter that must all be stopped before a region counts as sealed."""
WINDING_ACCURACY = 1.5
"""Barill's beta. The 2 that is proposed there is 0.007 off at most on real chairs and takes 1.6 times as long. This
value is 0.03 off, which is enough to tell on which side of one half a winding number is, or if it is near a whole
number."""
MAX_WINDING_RESIDUAL = 0.1
"""Largest distance of a trusted winding number from a whole number."""


@dataclass(frozen=True, eq=False)
class InsideVotes:
    """The result of the inside test at some points."""

    inside: Bool[np.ndarray, "points"]
    """True where a point is inside; the likelier sign where that is contested."""
    contested: Bool[np.ndarray, "points"]
    """True where winding number and visibility disagree, or where the points of the region disagree."""


@dataclass(frozen=True, kw_only=True)
class _RegionVote:
    """The decision for a whole region of free space."""

    inside: bool
    """True if the region is inside."""
    contested: bool
    """True if more than a tenth of its voters say otherwise."""
    by_winding: bool
    """True if the winding number decides for each point of the region, as the region opens to the outside."""


class InsideTest:
    """Tells which points are inside a cleaned mesh (`shapeprior.geometry.cleaning.clean_mesh`) in the unit frame.

    On a closed mesh, a point is inside if the generalised winding number there exceeds one half. It is evaluated
    hierarchically (Barill et al. 2018). Parts that overlap count as their union.

    On an open mesh, neither kind of evidence is enough. Winding numbers alone fill a cup whose wall is a single sheet,
    and call a solid outside if its patches face the wrong way. Visibility alone takes a crack in a fuselage for a
    window. So the free space is divided into regions (`shapeprior.sdf.cavities.FreeSpaceRegions`). The region that
    reaches infinity is outside; every other region is decided as a whole, by the mean evidence of its points. Points in
    no region, as in thin walls and slots, are decided one by one. The first rule that holds decides:

    - More than `MAX_ESCAPE` of the rays escape: outside, as a camera outside sees the point.
    - The winding number is above one half: inside, and the rays that escape do so through cracks.
    - No ray escapes: inside, behind walls that face the wrong way, or in a void that nobody can see. A region must also
      be closed for this, and stop `NUM_SEAL_RAYS` rays from each of its voters.
    - At most `SURE_ESCAPE` of the rays escape and the winding number is above `MIN_WINDING`: inside.
    - Otherwise outside, in a deep hollow.
    """

    MAX_ESCAPE = 0.12
    """A point from which a larger share of the rays escapes is outside."""
    SURE_ESCAPE = 0.02
    """A point from which at most this share of the rays escapes counts as hidden."""
    MIN_WINDING = 0.25
    """A hidden point is inside if its winding number is above this."""

    def __init__(self, mesh_unit: TriangleMesh, tree: FaceTree | None = None) -> None:
        """Prepare the test; `tree` holds the mesh's surface, and is built from the mesh if not given."""
        self.mesh = mesh_unit
        self.is_closed = mesh_unit.is_watertight
        self._tree = tree or FaceTree(mesh_unit)
        self._directions, self._screening_directions = (
            fibonacci_directions(NUM_RAYS),
            fibonacci_directions(NUM_SCREENING_RAYS),
        )
        if self.is_closed:
            return
        self._regions = FreeSpaceRegions(self._tree, self._scene)
        votes = [
            self._vote(centers, is_open=bool(is_open))
            for centers, is_open in zip(
                self._regions.centers[OUTSIDE + 1 :], self._regions.is_open[OUTSIDE + 1 :], strict=True
            )
        ]
        outside = _RegionVote(inside=False, contested=False, by_winding=False)
        self._region_inside, self._region_contested, self._region_by_winding = np.array(
            [(vote.inside, vote.contested, vote.by_winding) for vote in (outside, *votes)]
        ).T

    # Winding tree and ray scene are built when first needed: for two million faces they take 0.5 and 0.2 GB.
    @cached_property
    def _winding(self) -> igl.FastWindingNumberBVH:
        tree = igl.FastWindingNumberBVH()
        tree.init(np.ascontiguousarray(self.mesh.vertices), np.ascontiguousarray(self.mesh.faces), 2)
        return tree

    @cached_property
    def _scene(self) -> RayScene:
        return RayScene(self.mesh)

    def winding_number(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return how often the surface wraps around each point: 1 inside a closed outward mesh, 0 outside."""
        if len(points) == 0:
            return np.zeros(0)
        return np.asarray(self._winding.winding_number(np.ascontiguousarray(points), WINDING_ACCURACY)).reshape(-1)

    def escape_share(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the share of rays from each point that escape to infinity; 0 if nothing outside sees the point."""
        return self._escape_share_along(points, self._directions)

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """Return True where a point is inside."""
        return self.judge(points).inside

    def judge(
        self,
        points: Float[np.ndarray, "points 3"],
        *,
        away: Float[np.ndarray, "points 3"] | None = None,
        trust_winding: bool = False,
    ) -> InsideVotes:
        """Decide which points are inside, and where that is contested.

        Args:
            points: Points of the unit frame.
            away: Vectors from the nearest surface to each point, with any length but zero; computed if not given.
            trust_winding: Let a winding number close to a whole number decide, which saves the rest of the evidence.
        """
        if len(points) == 0:
            return InsideVotes(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
        if self.is_closed:
            return InsideVotes(self.winding_number(points) > 0.5, np.zeros(len(points), dtype=bool))
        if trust_winding:
            winding = self.winding_number(points)
            votes = InsideVotes(winding > 0.5, np.zeros(len(points), dtype=bool))
            asked = np.flatnonzero(np.abs(winding - np.round(winding)) > MAX_WINDING_RESIDUAL)
            rest = self.judge(points[asked], away=None if away is None else away[asked])
            votes.inside[asked], votes.contested[asked] = rest.inside, rest.contested
            return votes
        if away is None:
            away = _nonzero(points - self._tree.nearest(points)[2])
        region = self._regions.reached_from(points, away)
        inside, contested = self._region_inside[region], self._region_contested[region]
        # A region with an opening ends at the smooth membrane where the winding number is one half.
        behind = np.flatnonzero(self._region_by_winding[region])
        inside[behind] = self.winding_number(points[behind]) > 0.5
        alone = np.flatnonzero(region == NO_REGION)
        votes = self._judge_alone(points[alone])
        inside[alone], contested[alone] = votes.inside, votes.contested
        return InsideVotes(inside, contested)

    def _vote(self, centers: Float[np.ndarray, "cells 3"], *, is_open: bool) -> _RegionVote:
        """Decide for a region, given by the centres of its cells."""
        voters = centers[np.linspace(0, len(centers) - 1, min(MAX_VOTERS, len(centers))).astype(np.int64)]
        winding = self.winding_number(voters)
        escape = self.escape_share(voters)
        mean_winding, mean_escape = float(winding.mean()), float(escape.mean())
        inside = bool(self._decide(np.array([mean_winding]), np.array([mean_escape]), sealed=False)[0])
        if not inside and mean_escape == 0.0 and not is_open:
            inside = not self._escape_share_along(voters, fibonacci_directions(NUM_SEAL_RAYS)).any()
        opposed = (winding > 0.5) != inside
        seen_wrongly = (escape > self.MAX_ESCAPE) if inside else (escape <= self.SURE_ESCAPE)
        return _RegionVote(
            inside=inside,
            contested=bool(np.mean(opposed | seen_wrongly) > 0.1),
            by_winding=inside and is_open and mean_winding > 0.5,
        )

    def _judge_alone(self, points: Float[np.ndarray, "points 3"]) -> InsideVotes:
        winding = self.winding_number(points)
        escape = self._escape_share_along(points, self._screening_directions)
        # A quarter of the rays settles most points: those seen plainly, and those hidden where the winding number
        # agrees.
        undecided = np.flatnonzero(~((escape > 0.5) | ((escape == 0) & (winding > 0.5))))
        escape[undecided] = self.escape_share(points[undecided])
        inside = self._decide(winding, escape, sealed=True)
        opposed = (winding > 0.5) != inside
        seen_wrongly = inside & (escape > self.SURE_ESCAPE)
        return InsideVotes(inside, opposed | seen_wrongly)

    def _decide(
        self, winding: Float[np.ndarray, "points"], escape: Float[np.ndarray, "points"], *, sealed: bool
    ) -> Bool[np.ndarray, "points"]:
        """Apply the rules of the class; `sealed` says that a point from which no ray escapes is behind a wall for
        sure."""
        hidden = ((escape == 0) & sealed) | ((escape <= self.SURE_ESCAPE) & (winding > self.MIN_WINDING))
        return (escape <= self.MAX_ESCAPE) & ((winding > 0.5) | hidden)

    def _escape_share_along(
        self, points: Float[np.ndarray, "points 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Float[np.ndarray, "points"]:
        rays, share = len(directions), np.zeros(len(points))
        for start in range(0, len(points), POINTS_PER_BATCH):
            batch = points[start : start + POINTS_PER_BATCH]
            hit = self._scene.occluded(np.repeat(batch, rays, axis=0), np.tile(directions, (len(batch), 1)))
            share[start : start + POINTS_PER_BATCH] = 1.0 - hit.reshape(len(batch), rays).mean(axis=1)
        return share


def _nonzero(away: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Replace zero vectors, those of points on the surface, by some direction: such points are on neither side."""
    return np.where((away == 0.0).all(axis=1, keepdims=True), [0.0, 0.0, 1.0], away)
