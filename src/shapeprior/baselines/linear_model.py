"""PCA of signed distance fields: the shape prior before neural ones, fitted to views by regularised least squares."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from shapeprior.baselines.grid_field import CELLS, CLAMP, GridField, node_weights
from shapeprior.baselines.view_evidence import ViewEvidence
from shapeprior.errors import CompletionError

COMPONENTS = 64
"""At most so many, as the codes of the presets have; shapes less one, if there are fewer."""
PRIOR_WEIGHT = 1e-6
"""Weight of the mean squared coefficient (in standard deviations) against mean squared distances, in squared radii."""
MAX_ROUNDS = 30
"""Rounds of least squares until no free point changes sides."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Mean and principal components of the clamped signed distances of training shapes on a grid (Leventon et al. 2000).

    A shape is mean + coefficients @ basis; a coefficient of 1 is one standard deviation of the training shapes.
    """

    mean: Float[np.ndarray, "nodes"]
    basis: Float[np.ndarray, "components nodes"]

    @classmethod
    def fit(cls, grids: Float[np.ndarray, "shapes nodes"]) -> "LinearModel":
        """Fit to fields at the nodes. Raises CompletionError if there is no shape."""
        if len(grids) == 0:
            raise CompletionError("no training shape has a field; expected at least one")
        near = np.clip(grids.astype(np.float32), -CLAMP, CLAMP)
        mean = near.mean(axis=0, dtype=np.float64).astype(np.float32)
        near -= mean
        # Of many nodes and few shapes, the products of shapes hold the same components.
        values, mixing = np.linalg.eigh(_products(near))
        values, mixing = values[::-1], mixing[:, ::-1]
        kept = min(COMPONENTS, len(near) - 1, int(np.count_nonzero(values > 1e-8 * max(values[0], 1e-30))))
        # Rows of mixing.T @ near are axes times singular values; over √shapes, they are one standard deviation long.
        basis = (mixing[:, :kept].T @ near) / np.sqrt(len(near))
        return cls(mean, _signed(basis).astype(np.float32))

    def project(self, grid: Float[np.ndarray, "nodes"]) -> Float[np.ndarray, "components"]:
        """The coefficients whose field is nearest to a shape's field, in the mean square over the nodes."""
        left = np.clip(grid, -CLAMP, CLAMP) - self.mean
        return (self.basis @ left) / np.maximum(np.square(self.basis).sum(axis=1), 1e-30)

    def fit_view(self, evidence: ViewEvidence) -> Float[np.ndarray, "components"]:
        """The coefficients of a partial view.

        They minimise the mean square of the field at measured points, the mean square of its negative part at free points, and
        `PRIOR_WEIGHT` times the squared length of the coefficients: least squares again and again with the free points that
        are inside the shape of the round before.
        """
        cells = round(len(self.mean) ** (1 / 3))
        parts = [node_weights(points, cells) for points in (evidence.surface, evidence.free)]
        offsets = [part @ self.mean.astype(np.float64) for part in parts]
        slopes = [part @ self.basis.T.astype(np.float64) for part in parts]
        base = PRIOR_WEIGHT * np.eye(len(self.basis)) + slopes[0].T @ slopes[0] / len(offsets[0])
        target = -slopes[0].T @ offsets[0] / len(offsets[0])
        found = np.linalg.solve(base, target)
        inside = np.zeros(len(offsets[1]), dtype=bool)
        for _ in range(MAX_ROUNDS):
            before, inside = inside, offsets[1] + slopes[1] @ found < 0.0
            if np.array_equal(before, inside):
                break
            active = slopes[1][inside]
            weight = 1.0 / len(inside)
            found = np.linalg.solve(base + weight * active.T @ active, target - weight * active.T @ offsets[1][inside])
        return found

    def field(self, coefficients: Float[np.ndarray, "components"]) -> GridField:
        """The field of some coefficients."""
        values = self.mean + coefficients @ self.basis
        cells = round(len(values) ** (1 / 3))
        return GridField(values.astype(np.float64).reshape(cells, cells, cells))


def stacked(grids: Iterable[Float[np.ndarray, "nodes"]]) -> Float[np.ndarray, "shapes nodes"]:
    """Grids below each other, in half precision: a step of 0.0001 at the clamp."""
    found = [np.clip(grid, -CLAMP, CLAMP).astype(np.float16) for grid in grids]
    return np.stack(found) if found else np.zeros((0, CELLS**3), dtype=np.float16)


def _products(rows: Float[np.ndarray, "shapes nodes"]) -> Float[np.ndarray, "shapes shapes"]:
    """rows @ rows.T in double precision, piece by piece, since a copy of all rows would double the memory."""
    total = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], 8192):
        part = rows[:, start : start + 8192].astype(np.float64)
        total += part @ part.T
    return total


def _signed(basis: Float[np.ndarray, "components nodes"]) -> Float[np.ndarray, "components nodes"]:
    """Components whose largest entry is positive: eigenvectors have no sign of their own."""
    if len(basis) == 0:
        return basis
    largest = basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)]
    return basis * np.where(largest < 0.0, -1.0, 1.0)[:, None]
