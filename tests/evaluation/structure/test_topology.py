"""Parts and handles of closed, open, touching and overlapping surfaces, known by construction."""

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import from_trimesh, sphere
from manifold3d import Manifold, Mesh64

from shapeprior.evaluation.structure.topology import Topology, topology, true_topology
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.signed_distance import SignedDistance


def torus(center: tuple[float, float, float] = (0.0, 0.0, 0.0), *, major: float = 0.3, minor: float = 0.1) -> Manifold:
    source = trimesh.creation.torus(major, minor, major_sections=24, minor_sections=12)
    return solid(from_trimesh(source)).translate(center)


def solid(mesh: TriangleMesh) -> Manifold:
    return Manifold(Mesh64(vert_properties=mesh.vertices, tri_verts=mesh.faces.astype(np.uint64)))


def surface(solid: Manifold) -> TriangleMesh:
    found = solid.to_mesh64()
    return TriangleMesh(np.array(found.vert_properties[:, :3]), np.array(found.tri_verts).astype(np.int64))


def joined(*meshes: TriangleMesh) -> TriangleMesh:
    """All faces, whatever they pass through."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return TriangleMesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=False)]),
    )


def cup_with_handles(count: int) -> Manifold:
    """A cup, open at the top, with `count` handles around it that pass through its wall."""
    cup = Manifold.cylinder(0.9, 0.4, 0.4, 48, True) - Manifold.cylinder(0.9, 0.34, 0.34, 48).translate((0, 0, -0.35))
    for turn in range(count):
        handle = torus(major=0.2, minor=0.05).rotate((90, 0, 0)).translate((0.42, 0, 0))
        cavity = Manifold.cylinder(2.0, 0.36, 0.36, 48, True)
        cup = cup + (handle - cavity).rotate((0, 0, 360 / count * turn))
    return cup


CASES = {
    "sphere": (surface(Manifold.sphere(0.5, 24)), 1, 0),
    "torus": (surface(torus()), 1, 1),
    "double torus": (surface(torus((-0.33, 0, 0)) + torus((0.33, 0, 0))), 1, 2),
    "two spheres": (
        joined(sphere(radius=0.3, subdivisions=2), surface(Manifold.sphere(0.2, 24).translate((0.7, 0, 0)))), 2, 0,
    ),
    "plate with a hole": (
        surface(Manifold.cube((1, 1, 0.02), True) - Manifold.cylinder(1, 0.1, 0.1, 32, True)), 1, 1,
    ),
    "cup with three handles": (surface(cup_with_handles(3)), 1, 3),
    "cup without handles": (surface(cup_with_handles(0)), 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_closed_surfaces_have_the_parts_and_handles_they_were_made_with(name: str) -> None:
    mesh, parts, genus = CASES[name]
    assert mesh.is_watertight
    assert topology(mesh) == Topology(parts=parts, genus=genus)
    # The order of faces and vertices, and the winding, say nothing.
    rng = np.random.default_rng(0)
    place = rng.permutation(len(mesh.vertices))
    vertices = np.zeros_like(mesh.vertices)
    vertices[place] = mesh.vertices
    shuffled = place[mesh.faces][rng.permutation(len(mesh.faces))][:, ::-1]
    assert topology(TriangleMesh(vertices, shuffled)) == Topology(parts=parts, genus=genus)


def test_trimesh_counts_the_same_characteristic() -> None:
    for mesh, parts, genus in CASES.values():
        assert trimesh.Trimesh(mesh.vertices, mesh.faces).euler_number == 2 * (parts - genus)


def test_surfaces_that_touch_in_a_vertex_are_two() -> None:
    low = trimesh.creation.icosphere(subdivisions=1, radius=0.3)
    vertices, faces = np.asarray(low.vertices), np.asarray(low.faces)
    top = int(vertices[:, 2].argmax())
    mirrored = np.concatenate([vertices, vertices * [1, 1, -1] + [0, 0, 2 * vertices[top, 2]]])
    second = faces[:, ::-1] + len(vertices)
    second[second == top + len(vertices)] = top
    assert topology(TriangleMesh(mirrored, np.concatenate([faces, second]))) == Topology(parts=2, genus=0)


def test_rims_count_as_closed() -> None:
    ring = surface(torus())
    assert topology(TriangleMesh(ring.vertices, ring.faces[7:])) == Topology(parts=1, genus=1)
    tube = trimesh.creation.annulus(0.3, 0.4, 0.5)
    outer = from_trimesh(tube)
    side = np.abs(outer.face_normals[:, 2]) < 0.5
    # What is left of the tube are two open pipes, which are balls with their rims closed.
    assert topology(TriangleMesh(outer.vertices, outer.faces[side])) == Topology(parts=2, genus=0)


def test_nothing_has_no_parts() -> None:
    assert topology(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))) == Topology(parts=0, genus=0)


def test_the_truth_of_a_closed_mesh_is_its_own() -> None:
    for name in ("double torus", "two spheres"):
        mesh, parts, genus = CASES[name]
        assert true_topology(SignedDistance(mesh)) == Topology(parts=parts, genus=genus)


def test_crumbs_of_the_truth_do_not_count() -> None:
    crumb = surface(Manifold.sphere(0.02, 12).translate((0.8, 0, 0)))
    mesh = joined(surface(torus()), crumb)
    assert topology(mesh).parts == 2
    assert true_topology(SignedDistance(mesh)) == Topology(parts=1, genus=1)


@pytest.mark.slow
def test_parts_that_pass_through_each_other_are_one() -> None:
    """The handle sticks in the cup's body, and both are closed meshes of their own."""
    mesh = joined(surface(Manifold.cylinder(0.9, 0.4, 0.4, 32, True)), surface(torus((0.42, 0, 0)).rotate((90, 0, 0))))
    assert topology(mesh) == Topology(parts=2, genus=1)
    assert true_topology(SignedDistance(mesh), resolution=48) == Topology(parts=1, genus=1)


@pytest.mark.slow
def test_an_open_sheet_counts_as_its_plate() -> None:
    square = trimesh.creation.box(extents=(1.2, 1.2, 0.02))
    plate = from_trimesh(square.subdivide().subdivide())
    sheet = TriangleMesh(plate.vertices, plate.faces[plate.face_normals[:, 2] > 0.5])
    assert true_topology(SignedDistance(sheet)) == Topology(parts=1, genus=0)
    # Without its middle, the sheet is a frame around one hole.
    frame = sheet.faces[np.abs(sheet.corners.mean(axis=1)[:, :2]).max(axis=1) > 0.3]
    assert true_topology(SignedDistance(TriangleMesh(sheet.vertices, frame))) == Topology(parts=1, genus=1)
