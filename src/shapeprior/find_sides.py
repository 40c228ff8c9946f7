"""Which sides of a mesh's faces are inside, found part by part."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.inside import InsideTest
from shapeprior.seams import split_to_size
from shapeprior.sides import FaceSides, plain_edges

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


def find_sides(pieces: TriangleMesh, crossed: Bool[np.ndarray, "faces"], inside: InsideTest) -> FaceSides:
    """Find what lies on both sides of each piece of a mesh in the unit frame (`shapeprior.seams.split_at_seams`).

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
