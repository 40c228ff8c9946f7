"""The free space around a mesh, divided into regions that a ball of a given radius can travel through.

`FreeSpaceRegions` labels the cells of a grid by a watershed of the distance to the surface. Regions are told apart by
persistence (Edelsbrunner and Harer 2010, "Computational topology", chapter VII).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import cell_centers

GRID_CELLS = 32
"""Cells along each axis of the cube [-1, 1]³."""
MIN_CLEARANCE = 0.055
"""Radius of the ball that must fit through an opening, in unit-sphere radii; narrower openings are cracks. The radius
is at least half a cell's diagonal, so that the ball around a labelled centre holds its whole cell."""
NECK_RATIO = 0.5
"""An opening whose largest ball is below this share of the largest ball behind it is a hole in a wall, not a mouth."""
BALL_RADII = MIN_CLEARANCE * 1.2 ** np.arange(14)[::-1]
"""Radii at which the watershed tells regions apart, the largest first, in unit-sphere radii."""
MAX_SEARCH_DISTANCE = 0.5
"""Distance from a point within which a region is looked for, in unit-sphere radii."""
NUM_SEARCH_STEPS = 16
"""Places on the way from a point that are looked up; they lie closer together near the point."""
OUTSIDE = 0
"""Label of the region that reaches infinity."""
NO_REGION = -1
"""Label of cells that are too narrow to belong to a region."""


class FreeSpaceRegions:
    """Connected regions of the free space inside the unit cube; all points of a region have the same sign.

    A ball whose radius is the distance to the surface holds no surface, so that all of it has one sign. Neighbouring
    cells belong together if their centres have such a ball of radius `MIN_CLEARANCE` or more. A region behind a narrow
    neck is kept apart from what lies before the neck. So a ball with a hole in it can be solid, while the hollow of a
    cup belongs to the outside.
    """

    def __init__(self, tree: FaceTree, scene: RayScene) -> None:
        """Label the free space of the mesh, in the unit frame, that both `tree` and `scene` were made of."""
        self._tree, self._scene = tree, scene
        self._width = 2.0 / GRID_CELLS
        centers = cell_centers(GRID_CELLS)
        # The mesh ends before the cube does, so the padding around the cube belongs to the outside.
        clearances = self._clearances().reshape(GRID_CELLS, GRID_CELLS, GRID_CELLS)
        labels = _watershed(np.pad(clearances, 1, constant_values=np.inf))
        self.is_open = _reaches_outside(labels)
        """For each region, whether it is connected with the outside, if only through a neck."""
        labels = labels[1:-1, 1:-1, 1:-1]
        self._labels = labels.reshape(-1)
        self.centers = [centers[self._labels == label] for label in range(len(self.is_open))]
        """Cell centres of each region, in grid order; region `OUTSIDE` comes first."""

    def reached_from(
        self, points: Float[np.ndarray, "points 3"], away: Float[np.ndarray, "points 3"]
    ) -> Int[np.ndarray, "points"]:
        """Return the region that each point sees straight ahead; `NO_REGION` if there is none before the surface.

        `away` points from the nearest surface to each point, with any length but zero: in that direction is most room.
        """
        labels = self._label_at(points)
        unlabelled = np.flatnonzero(labels == NO_REGION)
        if len(unlabelled) == 0:
            return labels
        units = away[unlabelled] / np.linalg.norm(away[unlabelled], axis=1, keepdims=True)
        free = np.minimum(0.999 * self._scene.first_hit(points[unlabelled], units)[0], MAX_SEARCH_DISTANCE)
        for share in np.linspace(0.0, 1.0, NUM_SEARCH_STEPS + 1)[1:] ** 1.5:
            ahead = np.flatnonzero(labels[unlabelled] == NO_REGION)
            labels[unlabelled[ahead]] = self._label_at(
                points[unlabelled[ahead]] + (share * free[ahead])[:, None] * units[ahead]
            )
        return labels

    def _label_at(self, points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points"]:
        """Return the label of the cell that holds each point; all points beyond the cube are outside."""
        cell = np.floor((points + 1.0) / self._width).astype(np.int64)
        within = ((cell >= 0) & (cell < GRID_CELLS)).all(axis=1)
        cell = np.clip(cell, 0, GRID_CELLS - 1)
        flat = (cell[:, 0] * GRID_CELLS + cell[:, 1]) * GRID_CELLS + cell[:, 2]
        return np.where(within, self._labels[flat], OUTSIDE)

    def _clearances(self) -> Float[np.ndarray, "cells"]:
        """Return the distance to the surface at each centre, or a little more, on the right side of `MIN_CLEARANCE`.

        Distances are computed on a grid of twice the cell size, and exactly where that does not settle the comparison.
        """
        cells = GRID_CELLS // 2
        distance, _, foot = self._tree.nearest(cell_centers(cells))
        cube, children = (cells, 1) * 3, (1, 2) * 3
        foot = np.broadcast_to(foot.reshape(*cube, 3), (*np.multiply(cube, children), 3)).reshape(-1, 3)
        parent = np.broadcast_to(distance.reshape(cube), np.multiply(cube, children)).reshape(-1)
        centers = cell_centers(GRID_CELLS)
        result = np.linalg.norm(centers - foot, axis=1)
        # The distance changes by at most the length of the way from the parent's centre.
        near = (parent - np.sqrt(3.0) / GRID_CELLS <= MIN_CLEARANCE) & (result > MIN_CLEARANCE)
        result[near] = self._tree.distance(centers[near])
        return result


def _watershed(distance: Float[np.ndarray, "x y z"]) -> Int[np.ndarray, "x y z"]:
    """Label the region of each cell.

    Regions grow from the widest places to narrower ones, and join where no neck lies between them.
    """
    labels = np.full(distance.shape, NO_REGION)
    labels[np.isinf(distance)] = OUTSIDE
    peaks: list[float] = [np.inf]
    for radius in BALL_RADII:
        parts = _components(distance > radius)
        for part, box in enumerate(ndimage.find_objects(parts), start=1):
            here = parts[box] == part
            window = labels[box]
            found = np.unique(window[here & (window != NO_REGION)])
            if len(found) == 0:
                window[here] = len(peaks)
                peaks.append(float(distance[box][here].max()))
                continue
            keeper = max(found, key=lambda label: peaks[label])
            shallow = [label for label in found if label != keeper and radius > NECK_RATIO * peaks[label]]
            window[here & np.isin(window, shallow)] = keeper
            if len(found) - len(shallow) == 1:
                window[here] = keeper
            else:
                unknown = ~(here & (window != NO_REGION))
                nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
                window[here] = window[tuple(np.asarray(nearest))][here]
    used = np.unique(labels[labels != NO_REGION])
    return np.where(labels == NO_REGION, NO_REGION, np.searchsorted(used, labels))


def _reaches_outside(labels: Int[np.ndarray, "x y z"]) -> Bool[np.ndarray, "regions"]:
    """Tell which regions touch a chain of regions that leads to the grid's first cell, which is outside."""
    parts = _components(labels != NO_REGION)
    return np.isin(np.arange(labels.max() + 1), labels[parts == parts[0, 0, 0]])


def _components(free: Bool[np.ndarray, "x y z"]) -> Int[np.ndarray, "x y z"]:
    """Label the cells that are connected through faces, from 1; all others are 0."""
    return np.asarray(ndimage.label(free)[0]).astype(np.int64)  # pyright: ignore[reportIndexIssue]
