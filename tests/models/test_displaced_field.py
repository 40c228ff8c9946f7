"""Displaced fields, against linear functions, finite differences, and solids whose topology is known."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor

from shapeprior.models.displaced_field import (
    MAX_STRETCH,
    DisplacedField,
    Lattice,
    smoothed,
    stretch,
    without_folds,
)
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh

LATTICE = Lattice(low=np.array([-0.9, -0.8, -0.7]), spacing=0.1, shape=(19, 17, 15))
RADIUS, THICKNESS = 0.5, 0.05


class Shell:
    """The wall between two spheres around the origin."""

    def __call__(self, points_unit: np.ndarray) -> np.ndarray:
        return np.abs(np.linalg.norm(points_unit, axis=1) - RADIUS) - 0.5 * THICKNESS

    def gradient(self, points_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = np.linalg.norm(points_unit, axis=1, keepdims=True)
        return self(points_unit), np.sign(out - RADIUS) * points_unit / out


def zeros(channels: int) -> Tensor:
    return torch.zeros((1, channels, *LATTICE.shape))


def random_displacement(size: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn((1, 3, *LATTICE.shape), generator=generator)


def points_within(count: int, seed: int, share: float = 1.0) -> np.ndarray:
    half = 0.5 * LATTICE.spacing * (np.array(LATTICE.shape) - 1.0)
    return LATTICE.low + half + share * np.random.default_rng(seed).uniform(-half, half, (count, 3))


def test_values_between_nodes_are_scipys() -> None:
    values = random_displacement(1.0)
    axes = [low + LATTICE.spacing * np.arange(side) for low, side in zip(LATTICE.low, LATTICE.shape, strict=True)]
    points = points_within(500, seed=1)
    truth = RegularGridInterpolator(axes, np.moveaxis(values[0].double().numpy(), 0, -1))(points)
    read = LATTICE.read(values, torch.from_numpy(points).float()).numpy()
    np.testing.assert_allclose(read, truth, atol=1e-5)
    by_weights = LATTICE.weights(points) @ values.flatten(2)[0].T.double().numpy()
    np.testing.assert_allclose(by_weights, truth, atol=1e-9)


def test_values_fall_to_zero_outside_the_box() -> None:
    far = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
    assert not LATTICE.read(torch.ones_like(zeros(1)), far).any()


def test_a_lattice_covers_its_points_with_a_margin() -> None:
    points = np.random.default_rng(0).uniform(-0.3, 0.4, (100, 3))
    made = Lattice.around(points, spacing=0.07, margin=2)
    high = made.low + made.spacing * (np.array(made.shape) - 1)
    assert np.all(made.low <= points.min(axis=0) - 2 * made.spacing + 1e-9)
    assert np.all(high >= points.max(axis=0) + 2 * made.spacing - 1e-9)


def test_smoothing_keeps_sums_inside_and_averages_over_27_nodes() -> None:
    one = zeros(1)
    one[0, 0, 9, 8, 7] = 27.0
    once = smoothed(one, 1)
    assert torch.equal((once > 0.5).sum(), torch.tensor(27))
    np.testing.assert_allclose(once[0, 0, 8:11, 7:10, 6:9].numpy(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(smoothed(one, 3).numpy(), smoothed(smoothed(once, 1), 1).numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_no_two_points_move_apart_faster_than_the_bound(seed: int) -> None:
    displacement = random_displacement(0.02, seed)
    bound = float(stretch(displacement, LATTICE.spacing).max())
    first = points_within(20_000, seed, share=0.99)
    second = first + np.random.default_rng(seed).normal(0.0, 0.003, first.shape)
    moved = [
        LATTICE.read(displacement, torch.from_numpy(points).float()).double().numpy() for points in (first, second)
    ]
    rate = np.linalg.norm(moved[1] - moved[0], axis=1) / np.linalg.norm(second - first, axis=1)
    assert 0.3 * bound < rate.max() <= bound * 1.001


@pytest.mark.parametrize("size", [0.005, 0.05, 0.5])
def test_what_might_fold_is_tamed_and_the_rest_stays(size: float) -> None:
    displacement = zeros(3)
    displacement[:, :, :4] = random_displacement(size)[:, :, :4]
    displacement[0, 0, 12:16, 5:9, 5:9] = 0.02
    tamed = without_folds(displacement, LATTICE.spacing)
    assert float(stretch(tamed, LATTICE.spacing).max()) <= MAX_STRETCH * 1.001
    if size < 0.01:
        assert torch.equal(tamed, displacement)
    if size < 0.1:
        # Far from where space would fold, nothing changes.
        assert torch.equal(tamed[:, :, 12:], displacement[:, :, 12:])


def test_a_constant_displacement_moves_the_solid() -> None:
    displacement = torch.ones_like(zeros(3)) * torch.tensor([0.03, -0.02, 0.01]).view(1, 3, 1, 1, 1)
    moved = DisplacedField(Shell(), LATTICE, zeros(1), displacement)
    points = points_within(200, seed=0, share=0.9)
    np.testing.assert_allclose(moved(points), Shell()(points - [0.03, -0.02, 0.01]), atol=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    displacement = without_folds(random_displacement(0.01), LATTICE.spacing)
    deepening = 0.02 * torch.rand((1, 1, *LATTICE.shape), generator=torch.Generator().manual_seed(1))
    field = DisplacedField(Shell(), LATTICE, deepening, displacement)
    points = points_within(300, seed=2, share=0.9)
    values, gradient = field.gradient(points)
    np.testing.assert_allclose(values, field(points), atol=1e-6)
    step = 1e-3
    numeric = np.stack([(field(points + step * e) - field(points - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    # The derivative jumps at the faces of cells, and in the middle of the wall.
    assert np.quantile(np.abs(gradient - numeric).max(axis=1), 0.9) < 5e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_thin_wall_never_tears(seed: int) -> None:
    """A random displacement larger than the wall's thickness leaves one closed wall with a cavity."""
    displacement = without_folds(random_displacement(0.2, seed), LATTICE.spacing)
    assert displacement.norm(dim=1).max() > 0.5 * THICKNESS
    mesh = extract_mesh(DisplacedField(Shell(), LATTICE, zeros(1), displacement), ExtractConfig(resolution=96)).mesh
    euler = len(mesh.vertices) - len(mesh.faces) // 2
    assert (mesh.part_labels.max() + 1, euler) == (2, 4)


def test_deepening_only_thickens() -> None:
    deeper = DisplacedField(Shell(), LATTICE, torch.full_like(zeros(1), 0.01))
    points = points_within(500, seed=3, share=0.9)
    np.testing.assert_allclose(deeper(points), Shell()(points) - 0.01, atol=1e-6)


def test_a_displacement_that_ends_too_fast_at_the_border_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 0\.8"):
        DisplacedField(Shell(), LATTICE, zeros(1), torch.full_like(zeros(3), 0.09))


def test_folds_and_negative_deepening_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 0\.8"):
        DisplacedField(Shell(), LATTICE, zeros(1), random_displacement(1.0))
    with pytest.raises(ValueError, match="negative deepening"):
        DisplacedField(Shell(), LATTICE, zeros(1) - 0.001)
