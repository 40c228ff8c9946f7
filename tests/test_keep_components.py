"""Which parts of a mesh are kept, on spheres whose areas are known."""

import numpy as np
import pytest
from plain_geometry import sphere

from shapeprior.geometry.mesh import TriangleMesh, keep_components


def spheres(*radii: float) -> TriangleMesh:
    """Spheres beside each other, whose faces and vertices are mixed."""
    parts = [sphere(radius=radius, subdivisions=2) for radius in radii]
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices + np.array([3.0 * i, 0.0, 0.0]) for i, part in enumerate(parts)])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(vertices))
    return TriangleMesh(vertices=vertices[np.argsort(order)], faces=rng.permutation(order[faces]))


@pytest.mark.parametrize(
    ("share", "largest", "left"),
    [(0.0, False, 4), (0.01, False, 3), (0.2, False, 2), (0.99, False, 1), (0.0, True, 1), (0.2, True, 1)],
)
def test_parts_are_kept_by_their_share_of_the_area(share: float, largest: bool, left: int) -> None:
    mesh = spheres(1.0, 0.7, 0.3, 0.05)  # Of all: 63, 31, 5.7 and 0.16 %.
    kept, dropped = keep_components(mesh, min_area_share=share, largest_only=largest)
    assert dropped == 4 - left
    assert kept.is_watertight
    assert int(kept.part_labels.max()) + 1 == left
    each = sphere(radius=1.0, subdivisions=2)
    assert len(kept.vertices) == left * len(each.vertices)
    assert kept.volume == pytest.approx(each.volume * sum(r**3 for r in (1.0, 0.7, 0.3, 0.05)[:left]))
    assert set(map(tuple, kept.vertices)) <= set(map(tuple, mesh.vertices))


def test_one_part_is_returned_as_it_is() -> None:
    mesh = spheres(1.0)
    assert keep_components(mesh, min_area_share=0.5, largest_only=False) == (mesh, 0)
