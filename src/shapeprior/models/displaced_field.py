"""A decoded field whose space was moved, so that its surface moves without tearing.

The field is g(x - u(x)) with g(y) = f(y) - c(y). The deepening c is never negative, and can only thicken a wall. The
displacement u changes by less than the distance over which it does (its Lipschitz constant is below 1). Then x - u(x)
is one-to-one and continuous both ways, so the moved solid has as many parts, handles and cavities as the one before,
however thin its walls are. The same condition keeps deformations of images from folding (Choi and Lee 2000,
"Injectivity conditions of 2D and 3D uniform cubic B-spline functions"). Both u and c are read from the nodes of a
lattice, linearly between them.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor, nn

MAX_STRETCH = 0.8
"""Largest Lipschitz constant of a displacement. At 1, space may fold."""
MAX_SMOOTHING_ROUNDS = 20
"""Number of times that a displacement is smoothed where it changes too fast. After that, all of it is made smaller."""


@runtime_checkable
class DifferentiableField(Protocol):
    """A signed distance field with its gradient, such as `shapeprior.models.decoder.DecodedField`."""

    def __call__(self, points_unit: Float[np.ndarray, "points 3"], /) -> Float[np.ndarray, "points"]:
        """Return the signed distances at points."""
        ...

    def gradient(
        self, points_unit: Float[np.ndarray, "points 3"], /
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points 3"]]:
        """Return the signed distances at points, and the field's gradient there."""
        ...


@dataclass(frozen=True, eq=False)
class Lattice:
    """The nodes of a regular grid in a box of the unit frame. Values at them are tensors (1, channels, x, y, z)."""

    low: Float[np.ndarray, "3"]
    """Position of the first node."""
    spacing: float
    shape: tuple[int, int, int]
    """Number of nodes along each axis."""

    @classmethod
    def around(cls, points: Float[np.ndarray, "points 3"], *, spacing: float, margin: int) -> "Lattice":
        """Cover all points, with `margin` nodes on each side."""
        first = np.floor(points.min(axis=0) / spacing).astype(np.int64) - margin
        last = np.ceil(points.max(axis=0) / spacing).astype(np.int64) + margin
        x, y, z = (last - first + 1).tolist()
        return cls(first * spacing, spacing, (x, y, z))

    def weights(self, points: Float[np.ndarray, "points 3"]) -> csr_array:
        """Return the share of each node (columns, z fastest) in the value at each point (rows)."""
        columns, shares = self.corners(points)
        starts = np.arange(0, 8 * len(points) + 1, 8)
        return csr_array((shares.ravel(), columns.ravel(), starts), shape=(len(points), int(np.prod(self.shape))))

    def corners(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Int[np.ndarray, "points 8"], Float[np.ndarray, "points 8"]]:
        """Return the nodes at the corners of each point's cell, counted with z fastest, and their shares."""
        place = np.clip((points - self.low) / self.spacing, 0.0, np.array(self.shape) - 1.0)
        first = np.minimum(place.astype(np.int64), np.array(self.shape) - 2)
        share = place - first
        columns, shares = [], []
        for corner in np.ndindex(2, 2, 2):
            x, y, z = (first + np.array(corner)).T
            columns.append((x * self.shape[1] + y) * self.shape[2] + z)
            shares.append(np.where(corner, share, 1.0 - share).prod(axis=1))
        return np.stack(columns, axis=1), np.stack(shares, axis=1)

    def on_nodes(self, values: Float[np.ndarray, "nodes channels"]) -> Float[Tensor, "1 channels x y z"]:
        """Return values of nodes, in the order of `weights`, as a tensor over the lattice."""
        return torch.from_numpy(np.ascontiguousarray(values.T)).float().view(1, -1, *self.shape)

    def read(
        self, values: Float[Tensor, "1 channels x y z"], points: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points channels"]:
        """Return the values at points, linearly between nodes. They fall to 0 within a cell outside the box."""
        half = 0.5 * self.spacing * (np.array(self.shape) - 1.0)
        place = (points - torch.from_numpy(self.low + half).to(points)) / torch.from_numpy(half).to(points)
        # `grid_sample` takes the coordinate of the last axis first.
        grid = place.flip(-1).view(1, -1, 1, 1, 3)
        found = nn.functional.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        return found[0, :, :, 0, 0].T


def smoothed(values: Float[Tensor, "1 channels x y z"], passes: int) -> Float[Tensor, "1 channels x y z"]:
    """Average over 3 × 3 × 3 nodes, several times. Outside the lattice, values are 0."""
    # Products with a matrix for each axis take a tenth of the time of torch's pooling.
    x, y, z = (_averaging(side, passes) for side in values.shape[2:])
    return (x @ (y @ (values @ z)).flatten(3)).view(values.shape)


def stretch(displacement: Float[Tensor, "1 3 x y z"], spacing: float) -> Float[Tensor, "1 1 cells_x cells_y cells_z"]:
    """Return a bound of the displacement's Lipschitz constant in each cell, and in those around the lattice.

    Within a cell, the derivative along an axis is a mean of the differences along the cell's four edges. The bound is
    the Frobenius norm of the largest ones.
    """
    # Outside, `Lattice.read` falls to 0 within a cell.
    displacement = nn.functional.pad(displacement, (1, 1) * 3)
    total = torch.zeros(())
    for axis in (2, 3, 4):
        squares = displacement.diff(dim=axis).div(spacing).square().sum(dim=1, keepdim=True)
        for other in {2, 3, 4} - {axis}:
            count = squares.shape[other] - 1
            squares = torch.maximum(squares.narrow(other, 0, count), squares.narrow(other, 1, count))
        total = total + squares
    return total.sqrt()


def without_folds(displacement: Float[Tensor, "1 3 x y z"], spacing: float) -> Float[Tensor, "1 3 x y z"]:
    """Return the displacement smoothed where it changes by more than `MAX_STRETCH` allows, and else unchanged."""
    for _ in range(MAX_SMOOTHING_ROUNDS):
        too_far = (stretch(displacement, spacing) > MAX_STRETCH).float()
        if not too_far.any():
            return displacement
        # A node is smoothed if one of the cells around it, or one of their neighbours, is stretched too far.
        nodes = nn.functional.max_pool3d(too_far, 2, stride=1)
        displacement = torch.where(nodes > 0, smoothed(displacement, 1), displacement)
    return displacement * (MAX_STRETCH / max(float(stretch(displacement, spacing).max()), MAX_STRETCH))


@dataclass(frozen=True, eq=False)
class DisplacedField:
    """The signed distance of a decoded shape whose surface was moved: NumPy points in, NumPy distances out.

    Raises ValueError for a displacement that might fold space (see `without_folds`) or a negative deepening.
    """

    field: DifferentiableField
    """The field before."""
    lattice: Lattice
    deepening: Float[Tensor, "1 1 x y z"]
    """How much lower the field is at each node, 0 or more."""
    displacement: Float[Tensor, "1 3 x y z"] | None = None
    """How far the place of each node was moved, in the unit frame. None moves nothing."""

    def __post_init__(self) -> None:
        reached = 0.0 if self.displacement is None else float(stretch(self.displacement, self.lattice.spacing).max())
        if not reached <= MAX_STRETCH * 1.001:
            raise ValueError(f"a displacement that changes by {reached:.2f} a unit; expected at most {MAX_STRETCH}")
        if not float(self.deepening.min()) >= 0.0:
            raise ValueError("found a negative deepening; expected 0 or more")

    def __call__(self, points_unit: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return the signed distances at points of the unit frame, in single precision."""
        with torch.no_grad():
            places = self._before(torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32)))
            deepening = self.lattice.read(self.deepening, places)[:, 0].numpy()
        return self.field(places.numpy()) - deepening

    def gradient(
        self, points_unit: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points 3"]]:
        """Return the signed distances at some points, and the field's gradient there."""
        with torch.enable_grad():
            points = torch.from_numpy(np.ascontiguousarray(points_unit, dtype=np.float32)).requires_grad_()
            places = self._before(points)
            deepening = self.lattice.read(self.deepening, places)[:, 0]
            values, by_place = self.field.gradient(places.detach().numpy())
            # The chain rule: of f(x - u(x)) - c(x - u(x)), by x.
            total = (places * torch.from_numpy(by_place).float()).sum() - deepening.sum()
            (gradient,) = torch.autograd.grad(total, points)
        return values - deepening.detach().double().numpy(), gradient.double().numpy()

    def _before(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        return points if self.displacement is None else points - self.lattice.read(self.displacement, points)


@cache
def _averaging(side: int, passes: int) -> Float[Tensor, "side side"]:
    once = sum(torch.diag(torch.full((side - abs(step),), 1.0 / 3.0), step) for step in (-1, 0, 1))
    return torch.linalg.matrix_power(torch.as_tensor(once), passes)
