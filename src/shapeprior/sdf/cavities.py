"""The free space around a mesh, as pockets that a ball can travel through."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import cell_centers

CELLS = 32
"""Cells along each axis of the cube [-1, 1]³."""
CLEARANCE = 0.055
"""A ball of this radius must fit through, in unit-sphere radii; narrower openings are cracks. At least half a cell's diagonal,
so that the ball around a labelled centre holds its whole cell."""
NECK = 0.5
"""An opening narrower than this share of the pocket behind it, by the radii of the largest balls, is a hole in a wall."""
LEVELS = CLEARANCE * 1.2 ** np.arange(14)[::-1]
"""Ball radii at which pockets are told apart, the largest first."""
REACH = 0.5
"""How far from a point a pocket is looked for, in unit-sphere radii."""
LOOKS = 16
"""Places along the way that are looked at; the first ones lie closer together."""
OUTER = 0
"""The label of the pocket that reaches infinity."""
NONE = -1
"""No pocket: too narrow."""


class FreeSpaceRegions:
    """Connected pockets of the free space inside the unit cube.

    A ball with the distance to the surface as its radius holds no surface, so that all of it has one sign. Cells whose
    centre has such a ball of `CLEARANCE` or more hang together with their neighbours; all points that can be reached from
    a pocket through such balls share its sign. A pocket behind a narrow neck is kept apart from what is before it (a
    watershed of the distance, with pockets joined by persistence; Edelsbrunner and Harer 2010, "Computational topology",
    chapter VII), so that a holed ball can be solid while the hollow of a cup belongs to the outside.
    """

    def __init__(self, tree: FaceTree, scene: RayScene) -> None:
        """Tree and scene of the same mesh in the unit frame."""
        self._tree, self._scene = tree, scene
        self._width = 2.0 / CELLS
        centers = cell_centers(CELLS)
        # Meshes end before the cube does, and beyond it is nothing but the outside world.
        labels = _watershed(np.pad(self._clearances().reshape(CELLS, CELLS, CELLS), 1, constant_values=np.inf))
        self.open = _reaches_outside(labels)
        labels = labels[1:-1, 1:-1, 1:-1]
        """Whether each pocket hangs together with the outside world, if only through a neck."""
        self._labels = labels.reshape(-1)
        self.nodes = [centers[self._labels == label] for label in range(len(self.open))]
        """Cell centres of each pocket, in grid order; pocket `OUTER` is the outside world."""

    def reached_from(
        self, points: Float[np.ndarray, "points 3"], away: Float[np.ndarray, "points 3"]
    ) -> Int[np.ndarray, "points"]:
        """Label of the pocket that each point sees straight ahead; `NONE` if it sees none before the surface.

        `away` points from the surface to the point, with any length but zero: ahead, there is most room.
        """
        labels = self._at(points)
        left = np.flatnonzero(labels == NONE)
        if len(left) == 0:
            return labels
        units = away[left] / np.linalg.norm(away[left], axis=1, keepdims=True)
        free = np.minimum(0.999 * self._scene.first_hit(points[left], units)[0], REACH)
        for share in np.linspace(0.0, 1.0, LOOKS + 1)[1:] ** 1.5:
            ahead = np.flatnonzero(labels[left] == NONE)
            labels[left[ahead]] = self._at(points[left[ahead]] + (share * free[ahead])[:, None] * units[ahead])
        return labels

    def _at(self, points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points"]:
        """Label of the cell that holds each point; everything beyond the cube is outside."""
        cell = np.floor((points + 1.0) / self._width).astype(np.int64)
        within = ((cell >= 0) & (cell < CELLS)).all(axis=1)
        cell = np.clip(cell, 0, CELLS - 1)
        flat = (cell[:, 0] * CELLS + cell[:, 1]) * CELLS + cell[:, 2]
        return np.where(within, self._labels[flat], OUTER)

    def _clearances(self) -> Float[np.ndarray, "cells"]:
        """Distance at each centre, a little too large, but on the right side of `CLEARANCE`; from coarse to fine."""
        cells = CELLS // 2
        distance, _, foot = self._tree.nearest(cell_centers(cells))
        cube, children = (cells, 1) * 3, (1, 2) * 3
        foot = np.broadcast_to(foot.reshape(*cube, 3), (*np.multiply(cube, children), 3)).reshape(-1, 3)
        parent = np.broadcast_to(distance.reshape(cube), np.multiply(cube, children)).reshape(-1)
        centers = cell_centers(CELLS)
        result = np.linalg.norm(centers - foot, axis=1)
        # The distance changes by no more than the way from the parent's centre.
        near = (parent - np.sqrt(3.0) / CELLS <= CLEARANCE) & (result > CLEARANCE)
        result[near] = self._tree.distance(centers[near])
        return result


def _watershed(distance: Float[np.ndarray, "x y z"]) -> Int[np.ndarray, "x y z"]:
    """Pocket of each cell; they grow from the widest places down, and join where no neck is between them."""
    labels = np.full(distance.shape, NONE)
    labels[np.isinf(distance)] = OUTER
    peaks: list[float] = [np.inf]
    for level in LEVELS:
        parts = _components(distance > level)
        for part, box in enumerate(ndimage.find_objects(parts), start=1):
            here = parts[box] == part
            window = labels[box]
            found = np.unique(window[here & (window != NONE)])
            if len(found) == 0:
                window[here] = len(peaks)
                peaks.append(float(distance[box][here].max()))
                continue
            keeper = max(found, key=lambda label: peaks[label])
            shallow = [label for label in found if label != keeper and level > NECK * peaks[label]]
            window[here & np.isin(window, shallow)] = keeper
            if len(found) - len(shallow) == 1:
                window[here] = keeper
            else:
                unknown = ~(here & (window != NONE))
                nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
                window[here] = window[tuple(np.asarray(nearest))][here]
    used = np.unique(labels[labels != NONE])
    return np.where(labels == NONE, NONE, np.searchsorted(used, labels))


def _reaches_outside(labels: Int[np.ndarray, "x y z"]) -> Bool[np.ndarray, "pockets"]:
    parts = _components(labels != NONE)
    return np.isin(np.arange(labels.max() + 1), labels[parts == parts[0, 0, 0]])


def _components(free: Bool[np.ndarray, "x y z"]) -> Int[np.ndarray, "x y z"]:
    """Cells that hang together through faces, labelled from 1; 0 elsewhere."""
    return np.asarray(ndimage.label(free)[0]).astype(np.int64)  # pyright: ignore[reportIndexIssue]
