"""How far a shape is from filling the unit sphere: analytic shapes, moved and resized, and parts that have no
surface."""

import numpy as np
import pytest
import torch
from helpers.ellipsoids import LONG, EllipsoidDecoder, PositiveDecoder
from torch import Tensor

from shapeprior.completion.constraints import coarse_mesh, unit_sphere_correction
from shapeprior.geometry.transforms import UNIT_SPHERE_BUFFER

CODE = torch.tensor([0.3, -0.4])


class Moved(EllipsoidDecoder):
    """The same ellipsoids, resized and then shifted."""

    def __init__(self, size: float, shift: tuple[float, float, float]) -> None:
        super().__init__()
        self.size, self.shift = size, torch.tensor(shift)

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        return self.size * super().query(prepared, (points_unit - self.shift) / self.size)


class Winged(EllipsoidDecoder):
    """A ball with wings that are too thin to be there: over them, the field falls to 0.002 and no lower."""

    span, chord = 0.93, 0.25

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        del prepared
        beyond = points_unit.abs() - torch.tensor([self.span, 0.0, self.chord])
        wing = beyond.clamp_min(0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp_max(0.0)
        return torch.minimum(points_unit.norm(dim=-1) - 0.4, wing + 0.002)


@pytest.mark.parametrize("size", [0.85, 1.0, 1.02])
def test_a_resized_and_shifted_shape_is_brought_back(size: float) -> None:
    # What leaves the cube is cut off.
    shift = (0.0, 0.0, 0.0) if size > 0.9 else (0.02, -0.04, 0.03)
    found = unit_sphere_correction(Moved(size, shift), CODE)
    assert found is not None
    assert found.scale == pytest.approx(1.0 / size, rel=0.005)
    # The long axis ends on the sphere, and the middle is in its middle.
    moved = found.apply(shift + size * np.array([[0.0, -LONG, 0.0], [0.0, LONG, 0.0]]))
    np.testing.assert_allclose(moved, [[0.0, -LONG, 0.0], [0.0, LONG, 0.0]], atol=0.01)


def test_wings_without_a_surface_count() -> None:
    found = unit_sphere_correction(Winged(), CODE)
    assert found is not None
    reach = np.hypot(Winged.span, Winged.chord)
    assert found.scale == pytest.approx(1.0 / (reach * UNIT_SPHERE_BUFFER), rel=0.015)
    assert np.abs(found.offset).max() < 0.01
    mesh = coarse_mesh(Winged(), CODE)
    assert mesh is not None
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 0.45


def test_a_shape_far_too_small_is_torn_and_a_field_without_a_surface_has_none() -> None:
    assert unit_sphere_correction(Moved(0.5, (0.0, 0.0, 0.0)), CODE) is None
    assert unit_sphere_correction(PositiveDecoder(), CODE) is None
    assert coarse_mesh(PositiveDecoder(), CODE) is None
