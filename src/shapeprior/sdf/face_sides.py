"""The sides of faces: which of them are inside the object, and so on which side of the surface a point is.

`classify_face_sides` decides part by part which sides of a mesh's faces are inside. The result, `FaceSides`, tells the
sign of any point from its nearest face, or from the angle-weighted pseudonormal (Bærentzen and Aanæs 2005, "Signed
distance computation using the angle weighted pseudonormal") if an edge or a corner is nearest.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from shapeprior.geometry.edges import paired_halfedges
from shapeprior.geometry.mesh import TriangleMesh, connected_labels, sum_by_label
from shapeprior.geometry.sampling import points_on_faces
from shapeprior.sdf.inside_test import InsideTest
from shapeprior.sdf.self_intersections import split_to_size

FACES_PER_POINT = 20
"""If there are more faces than this for each point, only the faces around the points are looked at."""
PROBE_OFFSET = 5e-4
"""Distance in front of and behind a face at which its two sides are tested, in unit-sphere radii."""
NUM_PROBES = 400
"""Probes of a whole shape, shared out by area; each part gets MIN_PROBES_PER_PART to MAX_PROBES_PER_PART."""
MIN_PROBES_PER_PART, MAX_PROBES_PER_PART = 2, 48
GOLDEN_STEP, PLASTIC_STEP = 0.6180339887498949, 0.7548776662466927
"""Steps of evenly spread sequences in one dimension and (the second with its square) in two."""
MAX_DISSENT = 0.03
"""A part with a larger share of dissenting probes is cut up, and each of its pieces is decided alone."""
MAX_PIECE_EDGE = 0.1
"""Longest edge of such pieces, in unit-sphere radii."""
MIN_UNCONTESTED_SHARE = 0.9
"""If a larger share of the probes is uncontested, winding numbers near a whole number are trusted elsewhere."""


@dataclass(frozen=True, eq=False)
class FaceSides:
    """Tells for each face which of its sides are inside the object; `classify_face_sides` makes it."""

    pieces: TriangleMesh
    """The surface, split where its faces intersect."""
    part: Int[np.ndarray, "faces"]
    """The part of each face: faces connected across plain edges, with the same on their two sides."""
    mixed: Bool[np.ndarray, "faces"]
    """True for faces whose sides are not the same all over, as they intersect others or lie where a part ends."""
    front_inside: Bool[np.ndarray, "faces"]
    """True if the side that the normal points to is inside."""
    back_inside: Bool[np.ndarray, "faces"]
    """True if the other side is inside."""
    confidence: float
    """Share of the surface, by area, whose probes agree and are not contested
    (`shapeprior.sdf.inside_test.InsideVotes`)."""
    winding_trusted: bool
    """True if winding numbers agree with the votes nearly everywhere."""

    @property
    def skin(self) -> Bool[np.ndarray, "faces"]:
        """Faces with the inside on one side and the outside on the other."""
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
        """Decide the sign of points from the side of their nearest face that they are on.

        A point straight above a face is on the side that the face's normal tells. Above an edge or a corner that one
        part surrounds, the pseudonormal tells. At rims and intersections, nothing does.

        Args:
            points: Points of the unit frame.
            distance: Distance of each point to the surface.
            face: The nearest face of each point.
            foot: The point of that face that is nearest.

        Returns:
            Whether each point is inside, and whether that could be decided.
        """
        if FACES_PER_POINT * len(points) < len(self.part):
            nearby, place = self._restricted_around(face)
            # Around the hub of a fan, the faces nearby are the whole fan, and nothing is gained.
            if 2 * len(nearby.part) < len(self.part):
                return nearby.sign_at(points, distance, place, foot)
        away = points - foot
        height = np.einsum("ij,ij->i", away, self.pieces.face_normals[face])
        front, back = self.front_inside[face], self.back_inside[face]
        decided = (np.abs(height) >= (1.0 - 1e-7) * distance) | (front == back) & self._part_uniform_around(face)
        rest = np.flatnonzero(~decided)
        height_there, sure = self._pseudonormal_height(away[rest], distance[rest], face[rest], foot[rest])
        height[rest], decided[rest] = height_there, sure
        return np.where(height > 0.0, front, back), decided & ~self.mixed[face]

    def _restricted_around(self, face: Int[np.ndarray, "points"]) -> tuple["FaceSides", Int[np.ndarray, "points"]]:
        """Restrict this to the given faces and all that share corners with them, on which their points' signs depend.

        Returns the restriction, and the place of each given face in it.
        """
        is_corner = np.zeros(len(self.pieces.vertices), dtype=bool)
        is_corner[self.pieces.faces[face]] = True
        kept = np.flatnonzero(is_corner[self.pieces.faces].any(axis=1))
        pieces = TriangleMesh(self.pieces.vertices, self.pieces.faces[kept]).without_unused_vertices()
        chosen = {name: getattr(self, name)[kept] for name in ("part", "mixed", "front_inside", "back_inside")}
        return replace(self, pieces=pieces, **chosen), np.searchsorted(kept, face)

    def _part_uniform_around(self, face: Int[np.ndarray, "points"]) -> Bool[np.ndarray, "points"]:
        """Tell whether one part surrounds all corners of each face."""
        return np.asarray(self._plain_vertices[self.pieces.faces[face]].all(axis=1))

    def _pseudonormal_height(
        self,
        away: Float[np.ndarray, "points 3"],
        distance: Float[np.ndarray, "points"],
        face: Int[np.ndarray, "points"],
        foot: Float[np.ndarray, "points 3"],
    ) -> tuple[Float[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
        """Return the component of `away` along the pseudonormal of the nearest edge or corner, and whether it
        decides."""
        corners = self.pieces.vertices[self.pieces.faces[face]]
        scale = np.sqrt(self.pieces.face_areas[face])
        gap = np.linalg.norm(corners - foot[:, None], axis=2)
        vertex_slot = gap.argmin(axis=1)
        rows = np.arange(len(face))
        at_vertex = gap[rows, vertex_slot] <= 1e-7 * scale
        vertex = self.pieces.faces[face, vertex_slot]
        # The foot lies on the edge to which its distance, in lengths of the edge, is smallest.
        edge_vector = np.roll(corners, -1, axis=1) - corners
        to_line = np.linalg.norm(np.cross(foot[:, None] - corners, edge_vector), axis=2)
        edge_slot = (to_line / np.linalg.norm(edge_vector, axis=2)).argmin(axis=1)
        other = self._across[face, edge_slot]
        edge_normal = self.pieces.face_normals[face] + self.pieces.face_normals[np.maximum(other, 0)]
        normal = np.where(at_vertex[:, None], self._vertex_normals[vertex], edge_normal)
        height_there = np.einsum("ij,ij->i", away, normal)
        plain = np.where(at_vertex, self._plain_vertices[vertex], other >= 0)
        return height_there, plain & (np.abs(height_there) > 1e-3 * distance * np.linalg.norm(normal, axis=1)) & (
            distance > 1e-9
        )

    @cached_property
    def _across(self) -> Int[np.ndarray, "faces 3"]:
        """The face of the same part across each edge (corner k to k + 1); -1 at rims and where a part ends."""
        pairs, slots = plain_edges(self.pieces)
        across = np.full((len(self.pieces.faces), 3), -1, dtype=np.int64)
        same = self.part[pairs[:, 0]] == self.part[pairs[:, 1]]
        first, second = slots[same].T
        across.reshape(-1)[first], across.reshape(-1)[second] = second // 3, first // 3
        return across

    @cached_property
    def _plain_vertices(self) -> Bool[np.ndarray, "vertices"]:
        """True for vertices that one closed fan of faces of one part surrounds."""
        faces, across = self.pieces.faces, self._across
        plain = np.ones(len(self.pieces.vertices), dtype=bool)
        rim_face, rim_slot = np.nonzero(across < 0)
        plain[faces[rim_face, rim_slot]] = False
        plain[faces[rim_face, (rim_slot + 1) % 3]] = False
        # Corners are connected across edges: corner k with the corner at the same vertex in the face across edge k.
        # That face runs along the edge the other way, so that the edge ends there.
        face, slot = np.nonzero(across >= 0)
        other = across[face, slot]
        there = np.argmax(faces[other] == faces[face, slot][:, None], axis=1)
        links = np.stack([3 * face + slot, 3 * other + there], axis=1)
        fan = connected_labels(links, faces.size)
        fan_vertex = np.zeros(int(fan.max(initial=-1)) + 1, dtype=np.int64)
        fan_vertex[fan] = faces.reshape(-1)
        return plain & (np.bincount(fan_vertex, minlength=len(plain)) == 1)

    @cached_property
    def _vertex_normals(self) -> Float[np.ndarray, "vertices 3"]:
        """Sum of the normals of the faces around each vertex, weighted with the faces' angles there."""
        corners, faces, count = self.pieces.corners, self.pieces.faces, len(self.pieces.vertices)
        ahead, behind = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
        sine = np.linalg.norm(np.cross(ahead, behind), axis=2)
        angle = np.arctan2(sine, np.einsum("fkx,fkx->fk", ahead, behind))
        weighted = angle[:, :, None] * self.pieces.face_normals[:, None, :]
        return sum_by_label(weighted.reshape(-1, 3), faces.reshape(-1), num_labels=count)


def plain_edges(mesh: TriangleMesh) -> tuple[Int[np.ndarray, "edges 2"], Int[np.ndarray, "edges 2"]]:
    """Find the edges that exactly two faces share and along which these run in opposite directions.

    Returns the pairs of faces, and the pairs of half-edges (`shapeprior.geometry.edges`).
    """
    halfedges = paired_halfedges(mesh.faces)
    start = mesh.faces.reshape(-1)[halfedges]
    halfedges = halfedges[start[:, 0] != start[:, 1]]
    return halfedges // 3, halfedges


def classify_face_sides(pieces: TriangleMesh, intersecting: Bool[np.ndarray, "faces"], inside: InsideTest) -> FaceSides:
    """Find out what lies on both sides of each face of a mesh in the unit frame.

    A part is a set of faces that are connected across plain edges and intersect no others. Walking along a part does
    not leave the free space on either of its sides. So each side of a part has one sign, which a vote of a few probes
    decides. Where something slips through a gap without touching, however, a part may begin outside and end inside. If
    the probes of a part dissent, its faces are decided one by one, as are those that intersect others.

    Args:
        pieces: A surface whose intersecting faces are split (`shapeprior.sdf.self_intersections`).
        intersecting: The faces that intersect others.
        inside: The inside test of the same surface.
    """
    part = _connect_parts(pieces, ~intersecting, np.zeros(len(intersecting), dtype=np.int64))
    if inside.is_closed and not intersecting.any() and part.max() == 0:
        votes = _Votes.of_one_closed_part()
    else:
        votes = _vote(pieces, part, ~intersecting, inside)
    cut = intersecting | votes.dissent[part]
    if votes.dissent.any():
        pieces, source = split_to_size(pieces, cut & ~intersecting, MAX_PIECE_EDGE)
        part, cut, intersecting = part[source], cut[source], intersecting[source]
    trusted = votes.uncontested > MIN_UNCONTESTED_SHARE
    front, back, certain = votes.front[part], votes.back[part], votes.certain[part]
    alone = np.flatnonzero(cut)
    centroid, step = pieces.vertices[pieces.faces[alone]].mean(axis=1), PROBE_OFFSET * pieces.face_normals[alone]
    ahead = inside.judge(centroid + step, away=step, trust_winding=trusted)
    # Behind a face the winding number is larger by one than in front: if the front is inside, so is the back.
    asked = np.flatnonzero(~(ahead.inside & ~ahead.contested & trusted))
    behind = inside.judge(centroid[asked] - step[asked], away=-step[asked], trust_winding=trusted)
    front[alone], back[alone], back[alone[asked]] = ahead.inside, True, behind.inside
    certain[alone] = ~ahead.contested
    certain[alone[asked]] *= ~behind.contested
    pairs, _ = plain_edges(pieces)
    ends = pairs[(front[pairs[:, 0]] != front[pairs[:, 1]]) | (back[pairs[:, 0]] != back[pairs[:, 1]])]
    mixed = intersecting.copy()
    mixed[ends.reshape(-1)] = True
    return FaceSides(
        pieces=pieces,
        part=_connect_parts(pieces, ~intersecting, 2 * front + back),
        mixed=mixed,
        front_inside=front,
        back_inside=back,
        confidence=float(np.clip(np.average(certain, weights=pieces.face_areas), 0.0, 1.0)),
        winding_trusted=trusted,
    )


class _Votes:
    """The votes of each part's probes; parts without probes keep the defaults."""

    def __init__(self, parts: int) -> None:
        self.front, self.back = np.zeros(parts, dtype=bool), np.zeros(parts, dtype=bool)
        """True if the front or the back of a part is inside."""
        self.certain = np.ones(parts)
        """Share of each part's probes that agree on both sides and are uncontested."""
        self.dissent = np.zeros(parts, dtype=bool)
        """True for parts with a larger share of dissenting probes than MAX_DISSENT."""
        self.uncontested = 1.0
        """Share of all probes, by area, that are uncontested."""

    @classmethod
    def of_one_closed_part(cls) -> "_Votes":
        """Return what any probe of a closed part would find, as cleaning has turned closed parts outward."""
        votes = cls(1)
        votes.back[:] = True
        return votes


def _vote(
    pieces: TriangleMesh, part: Int[np.ndarray, "faces"], voting: Bool[np.ndarray, "faces"], inside: InsideTest
) -> _Votes:
    """Probe both sides of the parts' faces, and count the votes."""
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
    step = PROBE_OFFSET * pieces.face_normals[probed]
    agrees = np.ones(len(probed), dtype=bool)
    uncontested = agrees.copy()
    for name, away in (("front", step), ("back", -step)):
        side = inside.judge(place + away, away=away)
        share = np.bincount(owner, weights=side.inside, minlength=parts) / total
        setattr(votes, name, share > 0.5)
        votes.dissent |= np.minimum(share, 1.0 - share) > MAX_DISSENT
        uncontested &= ~side.contested
        agrees &= side.inside == (share > 0.5)[owner]
    # Parts without a vote do not dissent.
    votes.dissent &= np.bincount(owner, minlength=parts) > 0
    votes.certain = np.bincount(owner, weights=agrees & uncontested, minlength=parts) / total
    votes.uncontested = float(np.average(uncontested, weights=weight))
    return votes


def _connect_parts(
    mesh: TriangleMesh, joinable: Bool[np.ndarray, "faces"], kind: Int[np.ndarray, "faces"]
) -> Int[np.ndarray, "faces"]:
    """Label the part of each face: joinable faces of one kind that share plain edges."""
    pairs, _ = plain_edges(mesh)
    pairs = pairs[joinable[pairs].all(axis=1) & (kind[pairs[:, 0]] == kind[pairs[:, 1]])]
    return connected_labels(pairs, len(mesh.faces))


def _probes(
    pieces: TriangleMesh, areas: Float[np.ndarray, "faces"], part: Int[np.ndarray, "faces"], parts: int
) -> tuple[Int[np.ndarray, "probes"], Float[np.ndarray, "probes 3"]]:
    """Spread points evenly over the area of each part; returns the faces that they lie on, and the points.

    Multiples of the golden ratio shift the points, since evenly spaced ones may fall on every other face of a regular
    mesh.
    """
    order = np.argsort(part, kind="stable")
    start = np.searchsorted(part[order], np.arange(parts))
    cumulative = np.concatenate([[0.0], np.cumsum(areas[order] + 1e-30)])
    end = np.append(start[1:], len(order))
    low, high = cumulative[start], cumulative[end]
    wanted = np.clip(
        np.ceil(NUM_PROBES * (high - low) / cumulative[-1]), MIN_PROBES_PER_PART, MAX_PROBES_PER_PART
    ).astype(int)
    owner = np.repeat(np.arange(parts), wanted)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    along = low[owner] + (high - low)[owner] * (rank + rank * GOLDEN_STEP % 1.0) / wanted[owner]
    face = order[np.clip(np.searchsorted(cumulative, along, side="right") - 1, start[owner], end[owner] - 1)]
    # A lattice instead of random numbers makes the result the same every time.
    return face, points_on_faces(pieces, face, (rank + 0.5) * PLASTIC_STEP % 1.0, (rank + 0.5) * PLASTIC_STEP**2 % 1.0)
