"""Marching cubes' table of cases: how a surface passes through a cell whose corners have given signs.

The table is derived instead of typed in (Lorensen and Cline 1987, "Marching cubes"). Corner c of a cell has the offsets
(c >> 2, c >> 1 & 1, c & 1) along x, y and z. Edge e = 4 a + k goes along axis a from the corner ``EDGE_CORNERS[e, 0]``.
A case is the number whose bit c is set if corner c is inside (negative). On a face with two inside corners across from
each other, which the signs leave open, the inside is always taken to be two parts, so that the two cells at the face
agree.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np
from jaxtyping import Int

CORNER_OFFSETS: Int[np.ndarray, "8 3"] = np.array(list(product((0, 1), repeat=3)))
"""Offset of each corner from the cell's first corner."""


def _edge_corners() -> Int[np.ndarray, "12 2"]:
    edges = []
    for axis in range(3):
        edges += [(c, c | 4 >> axis) for c in range(8) if not c & (4 >> axis)]
    return np.array(edges)


EDGE_CORNERS: Int[np.ndarray, "12 2"] = _edge_corners()
"""Corners of each edge, the lower one first; four edges along x, then y, then z."""


@dataclass(frozen=True, eq=False)
class CubeCases:
    """For each of the 256 cases, the closed loops in which the surface crosses the cell's sides, and their
    triangles."""

    loops: tuple[tuple[tuple[int, ...], ...], ...]
    """Edges of each loop of each case in their order, counter-clockwise seen from outside the object."""
    triangles: Int[np.ndarray, "triangles 3"]
    """Edges at the corners of the triangles, case after case, oriented outward."""
    first: Int[np.ndarray, "257"]
    """Row of `triangles` at which each case begins."""


@cache
def cube_cases() -> CubeCases:
    """Return the table; it is made once."""
    loops = tuple(_loops(case) for case in range(256))
    triangles: list[tuple[int, ...]] = []
    first = [0]
    for case in loops:
        for loop in case:
            triangles += _triangles(loop)
        first.append(len(triangles))
    return CubeCases(loops, np.array(triangles, dtype=np.int64).reshape(-1, 3), np.array(first))


def _faces() -> list[tuple[int, ...]]:
    """Return the corners of each face, counter-clockwise seen from outside the cell."""
    faces = []
    for axis, end in product(range(3), (0, 1)):
        u, v = 4 >> (axis + 1) % 3, 4 >> (axis + 2) % 3
        ring = [0, u, u | v, v]
        faces.append(tuple((c | (4 >> axis) * end) for c in (ring if end else ring[::-1])))
    return faces


_FACES = _faces()
_EDGE_OF = {frozenset(pair): edge for edge, pair in enumerate(EDGE_CORNERS.tolist())}


def _face_edges(face: tuple[int, ...]) -> list[int]:
    """Return the edge from each corner of a face to the next."""
    return [_EDGE_OF[frozenset((face[i], face[(i + 1) % 4]))] for i in range(4)]


def _loops(case: int) -> tuple[tuple[int, ...], ...]:
    """Find the loops of a case.

    On each face, the surface goes from the edge before each run of inside corners to the edge behind it.
    """
    following: dict[int, int] = {}
    for face in _FACES:
        inside = [bool(case >> corner & 1) for corner in face]
        edges = _face_edges(face)
        for start in range(4):
            if inside[start] and not inside[start - 1]:
                stop = start
                while inside[(stop + 1) % 4] and stop < start + 3:
                    stop += 1
                following[edges[start - 1]] = edges[stop % 4]
    loops = []
    while following:
        start, edge = min(following.items())
        del following[start]
        loop = [start]
        while edge != start:
            loop.append(edge)
            edge = following.pop(edge)
        loops.append(tuple(loop))
    return tuple(loops)


_SHARE_FACE = {frozenset(pair) for face in _FACES for pair in combinations(_face_edges(face), 2)}


def _triangles(loop: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Triangulate a loop with as few diagonals as possible that lie in a face of the cell.

    The cell behind that face may have the same diagonal, and four triangles would meet there.
    """

    @cache
    def best(first: int, last: int) -> tuple[int, tuple[tuple[int, ...], ...]]:
        """Return the number of diagonals in faces, and the triangles, of the loop's part between two of its edges."""
        if last - first < 2:
            return 0, ()
        options = []
        for middle in range(first + 1, last):
            left, right = best(first, middle), best(middle, last)
            bad = sum(
                high - low > 1 and frozenset((loop[low], loop[high])) in _SHARE_FACE
                for low, high in ((first, middle), (middle, last))
            )
            options.append((left[0] + right[0] + bad, (*left[1], (loop[first], loop[middle], loop[last]), *right[1])))
        return min(options)

    return list(best(0, len(loop) - 1)[1])
