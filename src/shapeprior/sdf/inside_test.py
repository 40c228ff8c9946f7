"""Which points are inside: winding numbers and visibility, voted pocket by pocket."""

from dataclasses import dataclass
from functools import cached_property

import igl
import numpy as np
from jaxtyping import Bool, Float

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions
from shapeprior.sdf.cavities import NONE, OUTER, FreeSpaceRegions

RAYS = 64
FIRST_RAYS = 16
BATCH = 16_384
VOTERS = 64
"""Points that vote for a pocket."""
SEAL_RAYS = 2048
"""Rays from each voter that must all be stopped before a pocket counts as sealed."""

ACCURACY = 1.5
"""Barill's beta: 2, as proposed there, is 0.007 off at most on real chairs and takes 1.6 times as long; this is 0.03 off, and what
is asked of winding numbers is on which side of one half they are, or within `ROUND` of a whole number."""
ROUND = 0.1
"""How far from a whole number a trusted winding number may be."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the inside test says of points."""

    inside: Bool[np.ndarray, "points"]
    contested: Bool[np.ndarray, "points"]
    """Winding number and visibility disagree there, or the pocket's points do: the sign is the likelier one."""


@dataclass(frozen=True, kw_only=True)
class _PocketVote:
    """What a pocket is as a whole, whether its points do not all say so, and whether points of its own need the winding number."""

    inside: bool
    contested: bool
    by_winding: bool


class InsideTest:
    """Inside of a cleaned mesh (`shapeprior.geometry.cleaning.clean_mesh`) in the unit frame.

    Closed meshes: the generalised winding number (Jacobson et al. 2013; evaluated hierarchically after Barill et al.
    2018, "Fast winding numbers for soups and clouds") exceeds one half. Parts that overlap count as their union.

    Open meshes: winding numbers alone fill a cup whose wall is a single sheet, and call everything outside whose patches face
    the wrong way; visibility alone takes a crack in a fuselage for a window. So the free space is cut into pockets
    (`shapeprior.sdf.cavities.FreeSpaceRegions`). The pocket that reaches infinity is outside; every other one is as a whole what the
    evidence of its points says. Points in no pocket, in thin walls and slots, are judged one by one:

    - more than `MAX_ESCAPE` of the rays escape: a camera outside sees it, so it is outside;
    - else a winding number above one half: inside, and what escapes, escapes through cracks;
    - else no ray escapes at all: inside, behind walls that face the wrong way, or in a void that nobody can see (a pocket
      must be closed for this, and stop `SEAL_RAYS` rays from each of its voters);
    - else at most `SURE_ESCAPE` escape and the winding number is above `MIN_WINDING`: inside;
    - else outside, in a deep hollow.
    """

    MAX_ESCAPE = 0.12
    SURE_ESCAPE = 0.02
    MIN_WINDING = 0.25

    def __init__(self, mesh_unit: TriangleMesh, tree: FaceTree | None = None) -> None:
        """Prepare the test; `tree` holds all faces of the mesh, and is built if not given."""
        self.mesh = mesh_unit
        self.is_closed = mesh_unit.is_watertight
        self._tree = tree or FaceTree(mesh_unit)
        self._directions, self._first_directions = fibonacci_directions(RAYS), fibonacci_directions(FIRST_RAYS)
        if self.is_closed:
            return
        self._pockets = FreeSpaceRegions(self._tree, self._scene)
        votes = [
            self._vote(nodes, is_open=bool(is_open))
            for nodes, is_open in zip(self._pockets.nodes[OUTER + 1 :], self._pockets.open[OUTER + 1 :], strict=True)
        ]
        outside = _PocketVote(inside=False, contested=False, by_winding=False)
        self._pocket_inside, self._pocket_contested, self._pocket_by_winding = np.array(
            [(vote.inside, vote.contested, vote.by_winding) for vote in (outside, *votes)]
        ).T

    # Both are built where they are first needed: of two million faces they take 0.5 and 0.2 GB.
    @cached_property
    def _winding(self) -> igl.FastWindingNumberBVH:
        tree = igl.FastWindingNumberBVH()
        tree.init(np.ascontiguousarray(self.mesh.vertices), np.ascontiguousarray(self.mesh.faces), 2)
        return tree

    @cached_property
    def _scene(self) -> RayScene:
        return RayScene(self.mesh)

    def winding_number(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """How often the surface wraps around each point; 1 inside a closed outward mesh, 0 outside."""
        if len(points) == 0:
            return np.zeros(0)
        return np.asarray(self._winding.winding_number(np.ascontiguousarray(points), ACCURACY)).reshape(-1)

    def escape_share(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Share of rays from each point that leave the mesh behind; 0 means that nothing outside sees the point."""
        return self._escape(points, self._directions)

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points"]:
        """True where a point is inside."""
        return self.judge(points).inside

    def judge(
        self,
        points: Float[np.ndarray, "points 3"],
        *,
        away: Float[np.ndarray, "points 3"] | None = None,
        trust_winding: bool = False,
    ) -> Verdict:
        """Inside or not, and where that is contested.

        `away` leads from the nearest surface to each point, with any length but zero; it is found out if not given.
        With `trust_winding`, a winding number close to a whole number settles it, which saves the rest of the evidence.
        """
        if len(points) == 0:
            return Verdict(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
        if self.is_closed:
            return Verdict(self.winding_number(points) > 0.5, np.zeros(len(points), dtype=bool))
        if trust_winding:
            winding = self.winding_number(points)
            verdict = Verdict(winding > 0.5, np.zeros(len(points), dtype=bool))
            asked = np.flatnonzero(np.abs(winding - np.round(winding)) > ROUND)
            rest = self.judge(points[asked], away=None if away is None else away[asked])
            verdict.inside[asked], verdict.contested[asked] = rest.inside, rest.contested
            return verdict
        if away is None:
            away = _nonzero(points - self._tree.nearest(points)[2])
        pocket = self._pockets.reached_from(points, away)
        inside, contested = self._pocket_inside[pocket], self._pocket_contested[pocket]
        # A pocket's border with what lies before its opening is the smooth membrane where the winding number is one half.
        behind = np.flatnonzero(self._pocket_by_winding[pocket])
        inside[behind] = self.winding_number(points[behind]) > 0.5
        alone = np.flatnonzero(pocket == NONE)
        verdict = self._judge_alone(points[alone])
        inside[alone], contested[alone] = verdict.inside, verdict.contested
        return Verdict(inside, contested)

    def _vote(self, nodes: Float[np.ndarray, "nodes 3"], *, is_open: bool) -> "_PocketVote":
        voters = nodes[np.linspace(0, len(nodes) - 1, min(VOTERS, len(nodes))).astype(np.int64)]
        winding = self.winding_number(voters)
        escape = self.escape_share(voters)
        mean_winding, mean_escape = float(winding.mean()), float(escape.mean())
        inside = bool(self._rule(np.array([mean_winding]), np.array([mean_escape]), sealed=False)[0])
        if not inside and mean_escape == 0.0 and not is_open:
            inside = not self._escape(voters, fibonacci_directions(SEAL_RAYS)).any()
        opposed = (winding > 0.5) != inside
        seen_wrongly = (escape > self.MAX_ESCAPE) if inside else (escape <= self.SURE_ESCAPE)
        return _PocketVote(
            inside=inside,
            contested=bool(np.mean(opposed | seen_wrongly) > 0.1),
            by_winding=inside and is_open and mean_winding > 0.5,
        )

    def _judge_alone(self, points: Float[np.ndarray, "points 3"]) -> Verdict:
        winding = self.winding_number(points)
        escape = self._escape(points, self._first_directions)
        # A quarter of the rays settles most: what they see plainly, and what is hidden where the winding number agrees.
        open_question = np.flatnonzero(~((escape > 0.5) | ((escape == 0) & (winding > 0.5))))
        escape[open_question] = self.escape_share(points[open_question])
        inside = self._rule(winding, escape, sealed=True)
        opposed = (winding > 0.5) != inside
        seen_wrongly = inside & (escape > self.SURE_ESCAPE)
        return Verdict(inside, opposed | seen_wrongly)

    def _rule(
        self, winding: Float[np.ndarray, "points"], escape: Float[np.ndarray, "points"], *, sealed: bool
    ) -> Bool[np.ndarray, "points"]:
        """The evidence's verdict; `sealed` says that a point from which no ray escapes is behind a wall for sure."""
        hidden = ((escape == 0) & sealed) | ((escape <= self.SURE_ESCAPE) & (winding > self.MIN_WINDING))
        return (escape <= self.MAX_ESCAPE) & ((winding > 0.5) | hidden)

    def _escape(
        self, points: Float[np.ndarray, "points 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Float[np.ndarray, "points"]:
        rays, share = len(directions), np.zeros(len(points))
        for start in range(0, len(points), BATCH):
            batch = points[start : start + BATCH]
            hit = self._scene.occluded(np.repeat(batch, rays, axis=0), np.tile(directions, (len(batch), 1)))
            share[start : start + BATCH] = 1.0 - hit.reshape(len(batch), rays).mean(axis=1)
        return share


def _nonzero(away: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Some direction for points on the surface, which are on neither side."""
    return np.where((away == 0.0).all(axis=1, keepdims=True), [0.0, 0.0, 1.0], away)
