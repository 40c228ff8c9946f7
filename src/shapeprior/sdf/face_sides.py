"""What lies on the two sides of each face, and so on which side of the surface a point is.

Which sides of a mesh's faces are inside, found part by part.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.geometry.mesh import TriangleMesh, row_keys
from shapeprior.sdf.inside_test import InsideTest
from shapeprior.sdf.self_intersections import split_to_size

FEW = 20
"""With fewer points than one for so many faces, only the faces around them are looked at."""


@dataclass(frozen=True, eq=False)
class FaceSides:
    """Which side of each face is inside the object; `shapeprior.sdf.face_sides.classify_face_sides` finds it out."""

    pieces: TriangleMesh
    part: Int[np.ndarray, "faces"]
    """The part of each face: faces that hang together across plain edges and have the same on their sides."""
    mixed: Bool[np.ndarray, "faces"]
    """Faces whose sides are not the same all over, because a seam or the end of a part is there."""
    front_inside: Bool[np.ndarray, "faces"]
    """Whether the side that the normal points to is inside."""
    back_inside: Bool[np.ndarray, "faces"]
    confidence: float
    """Share of the surface, by area, whose probes agree and are not contested (`shapeprior.sdf.inside_test.Verdict`)."""
    winding_trusted: bool
    """Whether winding numbers agree with the votes nearly everywhere."""

    @property
    def skin(self) -> Bool[np.ndarray, "faces"]:
        """Faces between inside and outside."""
        return np.not_equal(self.front_inside, self.back_inside)

    @property
    def sheet(self) -> Bool[np.ndarray, "faces"]:
        """Faces with the outside on both sides."""
        return ~self.front_inside & ~self.back_inside

    def sign_at(
        self,
        points: Float[np.ndarray, "points 3"],
        distance: Float[np.ndarray, "points"],
        face: Int[np.ndarray, "points"],
        foot: Float[np.ndarray, "points 3"],
    ) -> tuple[Bool[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
        """Whether points are inside, from the side of their nearest face; and whether that can be told at all.

        A point straight above a face is on the side that its normal tells. Above an edge or a corner, the
        angle-weighted pseudonormal tells (Bærentzen and Aanæs 2005, "Signed distance computation using the angle weighted
        pseudonormal"), if one part surrounds it. At rims and seams nothing is told.
        """
        if FEW * len(points) < len(self.part):
            nearby, place = self._around(face)
            # Around the hub of a fan there is no less than the whole of it.
            if 2 * len(nearby.part) < len(self.part):
                return nearby.sign_at(points, distance, place, foot)
        away = points - foot
        height = np.einsum("ij,ij->i", away, self.pieces.face_normals[face])
        front, back = self.front_inside[face], self.back_inside[face]
        told = (np.abs(height) >= (1.0 - 1e-7) * distance) | (front == back) & self._part_uniform_around(face)
        rest = np.flatnonzero(~told)
        lean, sure = self._pseudonormal_lean(away[rest], distance[rest], face[rest], foot[rest])
        height[rest], told[rest] = lean, sure
        return np.where(height > 0.0, front, back), told & ~self.mixed[face]

    def _around(self, face: Int[np.ndarray, "points"]) -> tuple["FaceSides", Int[np.ndarray, "points"]]:
        """The given faces and all that share corners with them, which is what their points' signs depend on."""
        is_corner = np.zeros(len(self.pieces.vertices), dtype=bool)
        is_corner[self.pieces.faces[face]] = True
        kept = np.flatnonzero(is_corner[self.pieces.faces].any(axis=1))
        used, faces = np.unique(self.pieces.faces[kept], return_inverse=True)
        pieces = TriangleMesh(self.pieces.vertices[used], faces.reshape(-1, 3).astype(np.int64))
        chosen = {name: getattr(self, name)[kept] for name in ("part", "mixed", "front_inside", "back_inside")}
        return replace(self, pieces=pieces, **chosen), np.searchsorted(kept, face)

    def _part_uniform_around(self, face: Int[np.ndarray, "points"]) -> Bool[np.ndarray, "points"]:
        """Whether all corners of the face are surrounded by its part."""
        return np.asarray(self._plain_vertices[self.pieces.faces[face]].all(axis=1))

    def _pseudonormal_lean(
        self,
        away: Float[np.ndarray, "points 3"],
        distance: Float[np.ndarray, "points"],
        face: Int[np.ndarray, "points"],
        foot: Float[np.ndarray, "points 3"],
    ) -> tuple[Float[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
        """Component of `away` along the pseudonormal of the nearest edge or corner, and whether it decides."""
        corners = self.pieces.vertices[self.pieces.faces[face]]
        scale = np.sqrt(self.pieces.face_areas[face])
        gap = np.linalg.norm(corners - foot[:, None], axis=2)
        vertex_slot = gap.argmin(axis=1)
        rows = np.arange(len(face))
        at_vertex = gap[rows, vertex_slot] <= 1e-7 * scale
        vertex = self.pieces.faces[face, vertex_slot]
        # The edge that the foot lies on has the smallest distance to the foot, over the edge's length.
        edge_vector = np.roll(corners, -1, axis=1) - corners
        to_line = np.linalg.norm(np.cross(foot[:, None] - corners, edge_vector), axis=2)
        edge_slot = (to_line / np.linalg.norm(edge_vector, axis=2)).argmin(axis=1)
        other = self._across[face, edge_slot]
        edge_normal = self.pieces.face_normals[face] + self.pieces.face_normals[np.maximum(other, 0)]
        normal = np.where(at_vertex[:, None], self._vertex_normals[vertex], edge_normal)
        lean = np.einsum("ij,ij->i", away, normal)
        plain = np.where(at_vertex, self._plain_vertices[vertex], other >= 0)
        return lean, plain & (np.abs(lean) > 1e-3 * distance * np.linalg.norm(normal, axis=1)) & (distance > 1e-9)

    @cached_property
    def _across(self) -> Int[np.ndarray, "faces 3"]:
        """The face of the same part across each edge (corner k to k + 1); -1 at rims and seams."""
        pairs, slots = plain_edges(self.pieces)
        across = np.full((len(self.pieces.faces), 3), -1, dtype=np.int64)
        same = self.part[pairs[:, 0]] == self.part[pairs[:, 1]]
        first, second = slots[same].T
        across.reshape(-1)[first], across.reshape(-1)[second] = second // 3, first // 3
        return across

    @cached_property
    def _plain_vertices(self) -> Bool[np.ndarray, "vertices"]:
        """Vertices that one closed fan of one part surrounds."""
        faces, across = self.pieces.faces, self._across
        plain = np.ones(len(self.pieces.vertices), dtype=bool)
        rim_face, rim_slot = np.nonzero(across < 0)
        plain[faces[rim_face, rim_slot]] = False
        plain[faces[rim_face, (rim_slot + 1) % 3]] = False
        # Corners hang together across edges: corner k with the one at the same vertex in the face across edge k, which
        # runs the other way, so that its end is there.
        face, slot = np.nonzero(across >= 0)
        other = across[face, slot]
        there = np.argmax(faces[other] == faces[face, slot][:, None], axis=1)
        corners = faces.size
        graph = coo_array(
            (np.ones(len(face), dtype=np.int8), (3 * face + slot, 3 * other + there)), shape=(corners,) * 2
        )
        count, fan = connected_components(graph, directed=False)
        fan_vertex = np.zeros(count, dtype=np.int64)
        fan_vertex[fan] = faces.reshape(-1)
        return plain & (np.bincount(fan_vertex, minlength=len(plain)) == 1)

    @cached_property
    def _vertex_normals(self) -> Float[np.ndarray, "vertices 3"]:
        """Sum of the normals around each vertex, weighted with the faces' angles there."""
        corners, faces, count = self.pieces.corners, self.pieces.faces, len(self.pieces.vertices)
        ahead, behind = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
        sine = np.linalg.norm(np.cross(ahead, behind), axis=2)
        angle = np.arctan2(sine, np.einsum("fkx,fkx->fk", ahead, behind))
        weighted = angle[:, :, None] * self.pieces.face_normals[:, None, :]
        return np.stack(
            [
                np.bincount(faces.reshape(-1), weights=weighted[:, :, axis].reshape(-1), minlength=count)
                for axis in range(3)
            ],
            axis=1,
        )


def plain_edges(mesh: TriangleMesh) -> tuple[Int[np.ndarray, "edges 2"], Int[np.ndarray, "edges 2"]]:
    """Pairs of faces that share an edge which no third has and that run along it in opposite directions.

    Returns the faces, and the positions 3 * face + slot of the edge in both (slot k is corner k to k + 1).
    """
    # Small integers, as these arrays are the largest of all.
    directed = mesh.faces.astype(np.int32)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    forward = directed[:, 0] < directed[:, 1]
    directed.sort(axis=1)
    code = row_keys(directed)
    del directed
    order = np.argsort(code, kind="stable")
    code, forward = code[order], forward[order]
    new = np.concatenate([[True], code[1:] != code[:-1]])
    start = np.flatnonzero(new)
    size = np.diff(np.append(start, len(code)))
    start = start[size == 2]
    start = start[forward[start] != forward[start + 1]]
    slots = np.stack([order[start], order[start + 1]], axis=1).astype(np.int64)
    return slots // 3, slots


STEP = 5e-4
"""How far in front of and behind a face its two sides are tested, in unit-sphere radii."""
PROBES = 400
"""Probes that a whole shape gets, shared out by area; each part has at least `MIN_PROBES` and at most `MAX_PROBES`."""
MIN_PROBES, MAX_PROBES = 2, 48
GOLDEN, PLASTIC = 0.6180339887498949, 0.7548776662466927
"""Steps of evenly spread sequences in one and, with its square, in two dimensions."""
DISSENT = 0.03
"""A part more of whose probes than this dissent is cut up, and each of its pieces judged alone ..."""
PIECE_EDGE = 0.1
"""... with edges no longer than this, in unit-sphere radii."""
TRUST = 0.9
"""If so many probes of whole parts are uncontested, winding numbers near a whole number are believed elsewhere."""


def classify_face_sides(pieces: TriangleMesh, crossed: Bool[np.ndarray, "faces"], inside: InsideTest) -> FaceSides:
    """Find what lies on both sides of each piece of a mesh in the unit frame (`shapeprior.sdf.self_intersections.split_self_intersections`).

    A part is a set of faces that hang together across plain edges and that no seam passes through. Walking along a part
    does not leave the free space on either of its sides, so that each side has one sign, which a vote of a few probes
    finds. Where something slips through a gap without touching, though, a part may begin outside and end inside: if its
    probes dissent, its pieces are judged one by one, as those along seams are.
    """
    part = _joined(pieces, ~crossed, np.zeros(len(crossed), dtype=np.int64))
    if inside.is_closed and not crossed.any() and part.max() == 0:
        votes = _Votes.of_one_closed_part()
    else:
        votes = _vote(pieces, part, ~crossed, inside)
    cut = crossed | votes.dissent[part]
    if votes.dissent.any():
        pieces, source = split_to_size(pieces, cut & ~crossed, PIECE_EDGE)
        part, cut, crossed = part[source], cut[source], crossed[source]
    trusted = votes.uncontested > TRUST
    front, back, certain = votes.front[part], votes.back[part], votes.certain[part]
    alone = np.flatnonzero(cut)
    centroid, step = pieces.vertices[pieces.faces[alone]].mean(axis=1), STEP * pieces.face_normals[alone]
    ahead = inside.judge(centroid + step, away=step, trust_winding=trusted)
    # Behind a face the winding number is one more than before it: what is inside before it, is so behind it.
    asked = np.flatnonzero(~(ahead.inside & ~ahead.contested & trusted))
    behind = inside.judge(centroid[asked] - step[asked], away=-step[asked], trust_winding=trusted)
    front[alone], back[alone], back[alone[asked]] = ahead.inside, True, behind.inside
    certain[alone] = ~ahead.contested
    certain[alone[asked]] *= ~behind.contested
    pairs, _ = plain_edges(pieces)
    ends = pairs[(front[pairs[:, 0]] != front[pairs[:, 1]]) | (back[pairs[:, 0]] != back[pairs[:, 1]])]
    mixed = crossed.copy()
    mixed[ends.reshape(-1)] = True
    return FaceSides(
        pieces=pieces,
        part=_joined(pieces, ~crossed, 2 * front + back),
        mixed=mixed,
        front_inside=front,
        back_inside=back,
        confidence=float(np.clip(np.average(certain, weights=pieces.face_areas), 0.0, 1.0)),
        winding_trusted=trusted,
    )


class _Votes:
    """What the probes of each part say; parts without probes keep the defaults."""

    def __init__(self, parts: int) -> None:
        self.front, self.back = np.zeros(parts, dtype=bool), np.zeros(parts, dtype=bool)
        self.certain = np.ones(parts)
        """Share of each part's probes that agree on both sides and are uncontested."""
        self.dissent = np.zeros(parts, dtype=bool)
        self.uncontested = 1.0
        """Share of all probes."""

    @classmethod
    def of_one_closed_part(cls) -> "_Votes":
        """What any probe would find, as cleaning has turned closed parts outward."""
        votes = cls(1)
        votes.back[:] = True
        return votes


def _vote(
    pieces: TriangleMesh, part: Int[np.ndarray, "faces"], voting: Bool[np.ndarray, "faces"], inside: InsideTest
) -> _Votes:
    """Probe both sides of the parts' faces."""
    parts = int(part.max()) + 1
    votes = _Votes(parts)
    probed, place = _probes(pieces, np.where(voting, pieces.face_areas, 0.0), part, parts)
    probed, place = probed[voting[probed]], place[voting[probed]]
    if len(probed) == 0:
        return votes
    owner = part[probed]
    # Each of a part's probes stands for an equal share of its area.
    total = np.maximum(np.bincount(owner, minlength=parts), 1).astype(np.float64)
    weight = np.bincount(part, weights=pieces.face_areas, minlength=parts)[owner] / total[owner]
    step = STEP * pieces.face_normals[probed]
    right = np.ones(len(probed), dtype=bool)
    uncontested = right.copy()
    for name, away in (("front", step), ("back", -step)):
        verdict = inside.judge(place + away, away=away)
        share = np.bincount(owner, weights=verdict.inside, minlength=parts) / total
        setattr(votes, name, share > 0.5)
        votes.dissent |= np.minimum(share, 1.0 - share) > DISSENT
        uncontested &= ~verdict.contested
        right &= verdict.inside == (share > 0.5)[owner]
    # Parts that cast no vote dissent from nothing.
    votes.dissent &= np.bincount(owner, minlength=parts) > 0
    votes.certain = np.bincount(owner, weights=right & uncontested, minlength=parts) / total
    votes.uncontested = float(np.average(uncontested, weights=weight))
    return votes


def _joined(
    mesh: TriangleMesh, joinable: Bool[np.ndarray, "faces"], kind: Int[np.ndarray, "faces"]
) -> Int[np.ndarray, "faces"]:
    """Label of the part of each face: joinable faces of one kind that share plain edges."""
    pairs, _ = plain_edges(mesh)
    pairs = pairs[joinable[pairs].all(axis=1) & (kind[pairs[:, 0]] == kind[pairs[:, 1]])]
    count = len(mesh.faces)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), tuple(pairs.T)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _probes(
    pieces: TriangleMesh, areas: Float[np.ndarray, "faces"], part: Int[np.ndarray, "faces"], parts: int
) -> tuple[Int[np.ndarray, "probes"], Float[np.ndarray, "probes 3"]]:
    """Points spread over the area of each part, and the faces that they lie on.

    Plain multiples of the golden ratio shift them, since evenly spaced ones may fall on every other face of a regular mesh.
    """
    order = np.argsort(part, kind="stable")
    start = np.searchsorted(part[order], np.arange(parts))
    cumulative = np.concatenate([[0.0], np.cumsum(areas[order] + 1e-30)])
    end = np.append(start[1:], len(order))
    low, high = cumulative[start], cumulative[end]
    wanted = np.clip(np.ceil(PROBES * (high - low) / cumulative[-1]), MIN_PROBES, MAX_PROBES).astype(int)
    owner = np.repeat(np.arange(parts), wanted)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    along = low[owner] + (high - low)[owner] * (rank + rank * GOLDEN % 1.0) / wanted[owner]
    face = order[np.clip(np.searchsorted(cumulative, along, side="right") - 1, start[owner], end[owner] - 1)]
    # Osada et al. 2002, as in `shapeprior.geometry.sampling`, from a plain lattice in the place of random numbers.
    root, share = np.sqrt((rank + 0.5) * PLASTIC % 1.0), (rank + 0.5) * PLASTIC**2 % 1.0
    weights = np.stack([1.0 - root, root * (1.0 - share), root * share], axis=1)
    return face, np.einsum("pc,pcx->px", weights, pieces.vertices[pieces.faces[face]])
