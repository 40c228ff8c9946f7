"""Mesh files: written meshes come back, broken files are refused in one line, and no write is ever half done."""

import json
import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from helpers.plain_geometry import box, join, random_similarity, sorted_corners, sphere, to_trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shapeprior.errors import MeshError, OutputError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import write_bytes
from shapeprior.io.meshes import MESH_SUFFIXES, load_mesh, save_mesh

SHAPE = join(sphere(radius=0.3, center=(2.0, 0.0, 0.0)), box(extents=(1.0, 2.0, 3.0)))
TETRA = TriangleMesh(
    vertices=np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)
MEMORY = 64 << 20


def as_bytes(data: object) -> bytes:
    """Return the bytes that one of trimesh's exporters made."""
    if isinstance(data, str):
        return data.encode()
    assert isinstance(data, bytes)
    return data


def exported(mesh: TriangleMesh, kind: str) -> bytes:
    """Return the bytes of a mesh file as trimesh writes it."""
    return as_bytes(to_trimesh(mesh).export(file_type=kind))


def glb(document: dict[str, Any] | bytes, blob: bytes = b"") -> bytes:
    """Return a GLB file of its JSON and its binary chunk."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    blob += b"\0" * (-len(blob) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def tetra_document(**changes: Any) -> dict[str, Any]:
    """Return the JSON of a GLB file that holds TETRA, with changes."""
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": 72}],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 24}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        **changes,
    }


TETRA_BLOB = TETRA.vertices.astype("<f4").tobytes() + TETRA.faces.astype("<u2").tobytes()
TETRA_OFF = b"4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
TETRA_OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
PLY_HEADER = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
)
PLY_POINTS = as_bytes(trimesh.PointCloud(np.eye(3)).export(file_type="ply"))
PLY = exported(SHAPE, "ply")
STL = exported(SHAPE, "stl")
GLB = exported(SHAPE, "glb")


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    """Return the message of the MeshError that loading must end in, within bounded memory."""
    tracemalloc.start()
    try:
        with pytest.raises(MeshError) as caught:
            load_mesh(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "expected" in message
    assert peak < MEMORY
    return message


# Written meshes come back.


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb", ".PLY"])
def test_a_saved_mesh_comes_back(suffix: str, tmp_path: Path) -> None:
    path = save_mesh(tmp_path / "new" / f"shape{suffix}", SHAPE)
    assert path == tmp_path / "new" / f"shape{suffix}"
    loaded = load_mesh(path)
    assert loaded.vertices.dtype == np.float64
    assert loaded.faces.dtype == np.int64
    np.testing.assert_allclose(sorted_corners(loaded, decimals=5), sorted_corners(SHAPE, decimals=5), atol=2e-5)
    if suffix != ".stl":
        # STL has no shared vertices; the others keep vertices and their order.
        np.testing.assert_allclose(loaded.vertices, SHAPE.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, SHAPE.faces)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb"])
def test_trimesh_reads_the_same_from_what_is_written(suffix: str, tmp_path: Path) -> None:
    other = trimesh.load_mesh(save_mesh(tmp_path / f"shape{suffix}", SHAPE))
    assert other.volume == pytest.approx(SHAPE.volume, rel=1e-5)
    assert other.area == pytest.approx(SHAPE.face_areas.sum(), rel=1e-5)
    np.testing.assert_allclose(other.bounds, SHAPE.bounds, atol=1e-6)


MAP = np.array([412_345.25, 5_412_345.5, 123.0])
"""A place on a map, in metres."""


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_a_mesh_in_map_coordinates_keeps_its_shape(suffix: str, tmp_path: Path) -> None:
    ball = sphere(radius=0.05)
    far = TriangleMesh(vertices=ball.vertices + MAP, faces=ball.faces)
    path = save_mesh(tmp_path / f"far{suffix}", far)
    np.testing.assert_allclose(trimesh.load_mesh(path, process=False).vertices - MAP, ball.vertices, atol=1e-8)
    np.testing.assert_allclose(load_mesh(path).vertices - MAP, ball.vertices, atol=1e-8)


@pytest.mark.parametrize("suffix", [".stl", ".glb"])
def test_formats_of_single_precision_refuse_what_they_would_destroy(suffix: str, tmp_path: Path) -> None:
    ball = sphere(radius=0.05)
    with pytest.raises(OutputError, match=r"single precision, which would round its shape away; write \.ply or \.obj"):
        save_mesh(tmp_path / f"far{suffix}", TriangleMesh(vertices=ball.vertices + MAP, faces=ball.faces))
    with pytest.raises(OutputError, match="single precision"):
        save_mesh(tmp_path / f"far{suffix}", TriangleMesh(vertices=ball.vertices + 1e40, faces=ball.faces))
    assert names(tmp_path) == []
    # Ten metres away, the step is a hundred-thousandth of it.
    near = save_mesh(tmp_path / f"near{suffix}", TriangleMesh(vertices=ball.vertices + 10.0, faces=ball.faces))
    np.testing.assert_allclose(load_mesh(near).volume, ball.volume, rtol=1e-4)


def test_single_precision_is_kept_where_it_is_enough(tmp_path: Path) -> None:
    header = save_mesh(tmp_path / "a.ply", SHAPE).read_bytes().split(b"end_header")[0]
    assert b"property float x" in header


def test_off_is_read_and_not_written(tmp_path: Path) -> None:
    path = write(tmp_path, "shape.off", exported(SHAPE, "off"))
    np.testing.assert_allclose(load_mesh(path).vertices, SHAPE.vertices, atol=1e-8)
    np.testing.assert_array_equal(load_mesh(path).faces, SHAPE.faces)
    with pytest.raises(OutputError, match=r"\.off"):
        save_mesh(tmp_path / "out.off", SHAPE)
    assert not (tmp_path / "out.off").exists()


@pytest.mark.parametrize(
    "start",
    [b"OFF\n", b"OFF ", b"# by hand\nOFF\n", b"OFF\n# by hand, 8 lines\n", b"OFF # c\n" + b"# x\n" * 500, b"COFF\n"],
    ids=["plain", "one line", "comment", "comment between", "long comment", "colours"],
)
def test_off_headers(start: bytes, tmp_path: Path) -> None:
    assert load_mesh(write(tmp_path, "a.off", start + TETRA_OFF)).volume == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    "text",
    [
        TETRA_OBJ,
        TETRA_OBJ.replace(b"\n", b"\r\n"),
        "# café\nmtllib ../../secret.mtl\nusemtl café\n".encode() + TETRA_OBJ,
        "# café\nmtllib café.mtl\nusemtl café\n".encode("latin-1") + TETRA_OBJ,
        "\ufeff".encode() + TETRA_OBJ,
        b"vt 0 0\nvn 0 0 1\n" + TETRA_OBJ.replace(b"f 1 3 2", b"f 1/1/1 3//1 2/1"),
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -1 -2\nv 0 0 1\nf -4 -3 -1\nf 1 -1 3\nf 2 3 4\n",
        TETRA_OBJ.replace(b"f 1 3 2", b"f -4/-1/-1 -2 -3"),
    ],
    ids=["plain", "crlf", "utf-8 names", "latin-1 names", "byte order mark", "corners", "relative", "relative corners"],
)
def test_obj_dialects(text: bytes, tmp_path: Path) -> None:
    assert load_mesh(write(tmp_path, "a.obj", text)).volume == pytest.approx(1 / 6)


def test_polygons_become_triangles(tmp_path: Path) -> None:
    square = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
    mesh = load_mesh(write(tmp_path, "a.obj", square))
    assert mesh.faces.shape == (2, 3)
    np.testing.assert_allclose(mesh.face_area_vectors.sum(axis=0), [0.0, 0.0, 1.0])


def test_a_texture_that_is_named_is_neither_missed_nor_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = PLY_HEADER.replace(b"end_header", b"comment TextureFile ../x.png\nend_header")
    assert len(load_mesh(write(tmp_path, "a.ply", text + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")).faces) == 1
    assert not caplog.records


# GLB scenes.


def test_glb_nodes_are_placed(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    rng = np.random.default_rng(3)
    placements = [random_similarity(rng, scale=0.5), random_similarity(rng, scale=2.0)]
    for number, placement in enumerate(placements):
        scene.add_geometry(to_trimesh(TETRA), node_name=f"node{number}", transform=placement.matrix())
    mesh = load_mesh(write(tmp_path, "a.glb", as_bytes(scene.export(file_type="glb"))))
    expected = join(*(TriangleMesh(vertices=p.apply(TETRA.vertices), faces=TETRA.faces) for p in placements))
    np.testing.assert_allclose(sorted_corners(mesh, decimals=5), sorted_corners(expected, decimals=5), atol=2e-5)
    assert mesh.volume == pytest.approx((0.5**3 + 2.0**3) / 6, rel=1e-5)


@pytest.mark.parametrize(
    ("nodes", "volume"),
    [
        ([{"mesh": 0, "scale": [-1, 1, 1]}], 1 / 6),
        ([{"mesh": 0, "scale": [-1, -1, 2]}], 2 / 6),
        ([{"children": [1], "scale": [1, -2, 1]}, {"mesh": 0, "scale": [1, 2, 1], "translation": [1, 2, 3]}], 4 / 6),
        ([{"children": [1], "scale": [-1, 1, 1]}, {"mesh": 0, "scale": [-1, 1, 1]}], 1 / 6),
    ],
    ids=["mirrored", "turned", "mirrored parent", "mirrored twice"],
)
def test_mirrored_nodes_do_not_turn_a_mesh_inside_out(nodes: list[Any], volume: float, tmp_path: Path) -> None:
    path = write(tmp_path, "a.glb", glb(tetra_document(nodes=nodes), TETRA_BLOB))
    assert load_mesh(path).volume == pytest.approx(volume, rel=1e-6)


def test_parents_move_their_children(tmp_path: Path) -> None:
    nodes = [{"children": [1], "scale": [2, 2, 2]}, {"mesh": 0, "translation": [1, 0, 0]}]
    mesh = load_mesh(write(tmp_path, "a.glb", glb(tetra_document(nodes=nodes), TETRA_BLOB)))
    np.testing.assert_allclose(mesh.bounds, [[2.0, 0.0, 0.0], [4.0, 2.0, 2.0]])


def test_the_order_of_parts_is_not_left_to_chance(tmp_path: Path) -> None:
    # Two primitives in one mesh: trimesh names their nodes at random.
    document = tetra_document(
        meshes=[{"primitives": [{"attributes": {"POSITION": i}, "indices": 1} for i in (0, 2)]}],
        buffers=[{"byteLength": 120}],
        bufferViews=[{"buffer": 0, "byteOffset": o, "byteLength": n} for o, n in ((0, 48), (48, 24), (72, 48))],
    )
    document["accessors"].append({"bufferView": 2, "componentType": 5126, "count": 4, "type": "VEC3"})
    path = write(tmp_path, "a.glb", glb(document, TETRA_BLOB + (TETRA.vertices + 5.0).astype("<f4").tobytes()))
    assert len({load_mesh(path).vertices.tobytes() for _ in range(12)}) == 1
    assert load_mesh(path).volume == pytest.approx(2 / 6, rel=1e-6)


# Broken files are refused.

OFF_LIE = b"OFF\n1000000000000 12 0\n0 0 0\n"
PLY_LIE = PLY_HEADER.replace(b"vertex 3", b"vertex 1000000000000")
PLY_LIST_LIE = (
    PLY_HEADER.replace(b"ascii", b"binary_little_endian").replace(b"uchar", b"uint")
    + np.zeros(9, "<f4").tobytes()
    + struct.pack("<I", 4_000_000_000)
)
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "utf-16 obj": ("a.obj", TETRA_OBJ.decode().encode("utf-16"), "UTF-16"),
    "utf-16 off": ("a.off", b"OFF\n".decode().encode("utf-16"), "UTF-16|header"),
    "binary obj": ("a.obj", b"\0" * 100, "binary"),
    "obj index out of range": ("a.obj", TETRA_OBJ + b"f 1 2 9\n", "cannot be read"),
    "obj index 0": ("a.obj", TETRA_OBJ + b"f 0 1 2\n", "line 9 refers to no vertex"),
    "obj index before the first": ("a.obj", TETRA_OBJ + b"f -9 1 2\n", "line 9 refers to no vertex"),
    "obj in the plane": ("a.obj", b"v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "cannot be read"),
    "obj nan": ("a.obj", TETRA_OBJ.replace(b"v 1 0 0", b"v nan 0 0"), "1 vertices are NaN or infinite"),
    "obj infinite": ("a.obj", TETRA_OBJ.replace(b"v 1 0 0", b"v inf 0 0"), "1 vertices are NaN or infinite"),
    "obj overflow": ("a.obj", TETRA_OBJ.replace(b"v 1 0 0", b"v 1e999 0 0"), "1 vertices are NaN or infinite"),
    "obj points": ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "points and no faces.*shapeprior complete"),
    "obj blank": ("a.obj", b"\n\n", "neither vertices nor faces"),
    "ply points": ("a.ply", PLY_POINTS, "3 points and no faces"),
    "ply without end of header": ("a.ply", PLY[:150], "header is broken"),
    "ply cut": ("a.ply", PLY[:-40], "cannot be read"),
    "ply promises": ("a.ply", PLY_LIE, "states 1000000000001 elements"),
    "ply promises less than nothing": (
        "a.ply",
        PLY_LIE.replace(b"end_header", b"element x -1000000000000\nend_header"),
        "states 1000000000001 elements",
    ),
    "ply promises a long list": ("a.ply", PLY_LIST_LIE, "cannot be read"),
    "ply nan": ("a.ply", PLY_HEADER + b"0 0 0\nnan 0 0\n0 1 0\n3 0 1 2\n", "1 vertices are NaN"),
    "ply index out of range": (
        "a.ply",
        PLY_HEADER + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
        "vertices 0 to 7, but there are 3",
    ),
    "ply negative index": ("a.ply", PLY_HEADER + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n", "vertices -1 to 1"),
    "stl cut": ("a.stl", STL[:300], "cannot be read"),
    "stl promises": ("a.stl", STL[:80] + struct.pack("<I", 4_000_000_000) + STL[84:], "cannot be read"),
    "stl without faces": ("a.stl", STL[:80] + struct.pack("<I", 0), "neither vertices nor faces"),
    "stl nan": ("a.stl", STL[:96] + struct.pack("<f", np.nan) + STL[100:], "1 vertices are NaN"),
    "off promises": ("a.off", OFF_LIE, "states 1000000000000 elements in 29 bytes"),
    "off without keyword": ("a.off", TETRA_OFF, "header is broken"),
    "off in four dimensions": ("a.off", b"4OFF\n" + TETRA_OFF, "header is broken"),
    "off cut": ("a.off", b"OFF\n" + TETRA_OFF[:30], "cannot be read|no faces"),
    "off index out of range": ("a.off", b"OFF\n" + TETRA_OFF.replace(b"3 0 2 1", b"3 0 2 9"), "range"),
    "glb cut": ("a.glb", GLB[:-20], "cannot be read"),
    "glb cut in its header": ("a.glb", GLB[:100], "header is broken"),
    "glb nested without end": ("a.glb", glb(b"[" * 100_000), "header is broken"),
    "glb absurd accessor": (
        "a.glb",
        glb(tetra_document(accessors=[{"componentType": 5126, "count": 4 * 10**12, "type": "VEC3"}] * 2)),
        "at most",
    ),
    "glb absurd accessor that no mesh uses": (
        "a.glb",
        glb(
            tetra_document(
                accessors=tetra_document()["accessors"]
                + [{"componentType": 5126, "count": count, "type": "VEC3"} for count in (10**12, -(10**12))]
            ),
            TETRA_BLOB,
        ),
        "states",
    ),
    "glb nan": ("a.glb", glb(tetra_document(), b"\xff" * 48 + TETRA_BLOB[48:]), "4 vertices are NaN"),
    "glb infinite placement": (
        "a.glb",
        glb(
            tetra_document(nodes=[{"mesh": 0, "scale": [1e308, 1e308, 1e308]}]),
            TETRA_BLOB.replace(b"\x80\x3f", b"\xff\x7e"),
        ),
        "infinite",
    ),
    "glb placement of nans": (
        "a.glb",
        glb(json.dumps(tetra_document(nodes=[{"mesh": 0, "matrix": [float("nan")] * 16}])).encode(), TETRA_BLOB),
        "NaN",
    ),
    "glb index out of range": ("a.glb", glb(tetra_document(), TETRA_BLOB[:48] + b"\x09\x00" * 12), "vertices 9 to 9"),
    "glb points": (
        "a.glb",
        glb(tetra_document(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]}]), TETRA_BLOB),
        "4 points and no faces",
    ),
    "glb without a scene": ("a.glb", glb(tetra_document(scenes=[], nodes=[]), TETRA_BLOB), "cannot be read"),
    "glb in a circle": (
        "a.glb",
        glb(tetra_document(nodes=[{"children": [1]}, {"children": [0]}]), TETRA_BLOB),
        "neither",
    ),
    "glb compressed": (
        "a.glb",
        glb(tetra_document(extensionsRequired=["KHR_draco_mesh_compression"]), TETRA_BLOB),
        "KHR_draco_mesh_compression",
    ),
    "glb with data elsewhere": (
        "a.glb",
        glb(tetra_document(buffers=[{"byteLength": 72, "uri": "/etc/hostname"}])),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused(case: str, tmp_path: Path) -> None:
    name, data, found = BROKEN[case]
    message = refusal(write(tmp_path, name, data))
    assert re.search(found, message), message


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_empty_files_are_refused(suffix: str, tmp_path: Path) -> None:
    assert "an empty file" in refusal(write(tmp_path, f"a{suffix}", b""))


def test_missing_files_folders_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.ply")
    (tmp_path / "folder.ply").mkdir()
    assert "a folder" in refusal(tmp_path / "folder.ply")
    assert "suffix '.gltf'" in refusal(write(tmp_path, "a.gltf", b"{}"))
    assert "suffix ''" in refusal(write(tmp_path, "mesh", b"x"))


def test_files_beyond_the_limit_are_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.ply"
    with open(path, "wb") as file:
        file.truncate((1 << 30) + 1)
    assert "1024 MiB at most" in refusal(path)


def instances(*, faces: int, vertices: int, meshes: int, nodes: int) -> bytes:
    """Return a small GLB file of nodes that share meshes, which share their numbers."""
    document = tetra_document(
        nodes=[{"mesh": i % meshes} for i in range(nodes)],
        scenes=[{"nodes": list(range(nodes))}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}] * meshes,
        buffers=[{"byteLength": 12 * vertices + 6 * faces}],
        bufferViews=[
            {"buffer": 0, "byteLength": 12 * vertices},
            {"buffer": 0, "byteOffset": 12 * vertices, "byteLength": 6 * faces},
        ],
        accessors=[
            {"bufferView": 0, "componentType": 5126, "count": vertices, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 3 * faces, "type": "SCALAR"},
        ],
    )
    corners = np.tile(np.arange(3, dtype="<u2"), faces)
    return glb(document, np.zeros((vertices, 3), "<f4").tobytes() + corners.tobytes())


@pytest.mark.parametrize(
    "bomb",
    [
        {"faces": 20_000, "vertices": 3, "meshes": 1, "nodes": 1100},
        {"faces": 1, "vertices": 60_000, "meshes": 1, "nodes": 1100},
        {"faces": 60_000, "vertices": 3, "meshes": 1100, "nodes": 1},
        {"faces": 1, "vertices": 60_000, "meshes": 2200, "nodes": 1},
    ],
    ids=["faces of nodes", "vertices of nodes", "faces of meshes", "vertices of meshes"],
)
def test_a_small_file_cannot_ask_for_a_huge_mesh(bomb: dict[str, int], tmp_path: Path) -> None:
    assert "at most 20000000" in refusal(write(tmp_path, "bomb.glb", instances(**bomb)))


def test_many_instances_within_the_limit_are_read(tmp_path: Path) -> None:
    mesh = load_mesh(write(tmp_path, "a.glb", instances(faces=2, vertices=3, meshes=3, nodes=50)))
    assert mesh.faces.shape == (100, 3)
    assert mesh.vertices.shape == (150, 3)


MAGIC = {".obj": b"v 0 0 0\nf ", ".ply": PLY_HEADER, ".stl": b"solid a\n", ".off": b"OFF\n", ".glb": b"glTF\2\0\0\0"}


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(min_size=1, max_size=300), start=st.booleans())
@example(noise=b"\n", start=False)
def test_random_bytes_are_refused_or_read_but_never_crash(
    suffix: str, noise: bytes, start: bool, tmp_path: Path
) -> None:
    path = write(tmp_path, f"noise{suffix}", (MAGIC[suffix] if start else b"") + noise)
    expect_mesh_or_refusal(path)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read_but_never_crash(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = {
        ".obj": TETRA_OBJ,
        ".ply": exported(TETRA, "ply"),
        ".stl": exported(TETRA, "stl"),
        ".off": b"OFF\n" + TETRA_OFF,
        ".glb": glb(tetra_document(), TETRA_BLOB),
    }[suffix]
    damaged = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    expect_mesh_or_refusal(write(tmp_path, f"damaged{suffix}", bytes(damaged)))


def expect_mesh_or_refusal(path: Path) -> None:
    try:
        mesh = load_mesh(path)
    except MeshError as error:
        message = str(error)
    else:
        message = f"{path} was read"
        assert len(mesh.faces)
        assert mesh.faces.min() >= 0
        assert mesh.faces.max() < len(mesh.vertices)
        assert np.isfinite(mesh.vertices[mesh.faces]).all()
    assert str(path) in message
    assert "\n" not in message


# No write is half done.


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_writing_makes_the_folder_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"first")
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"second")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"second"
    assert names(tmp_path) == ["a", "b", "c.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
def test_a_failed_write_keeps_the_old_file(
    step: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.bin", b"old")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
        write_bytes(path, b"new")
    if isinstance(failure, OSError):
        assert isinstance(caught.value, OutputError)
        assert "No space left on device" in str(caught.value)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def in_place_of_a_folder(folder: Path) -> Path:
    (folder / "taken").mkdir()
    (folder / "taken" / "inside").write_bytes(b"kept")
    return folder / "taken"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_bytes(b"kept")
    return folder / "file" / "a.bin"


def with_too_long_a_name(folder: Path) -> Path:
    return folder / ("x" * 300)


@pytest.mark.parametrize("place", [in_place_of_a_folder, below_a_file, with_too_long_a_name])
def test_places_that_cannot_be_written_are_refused(place: Callable[[Path], Path], tmp_path: Path) -> None:
    path = place(tmp_path)
    before = names(tmp_path)
    with pytest.raises(OutputError) as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


def test_a_device_that_takes_no_files_is_refused() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(OutputError, match=r"/proc/self/a\.ply"):
        save_mesh("/proc/self/a.ply", TETRA)


def test_the_longest_name_that_the_file_system_takes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".ply")
    assert load_mesh(save_mesh(path, TETRA)).faces.shape == (4, 3)
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["mesh", "mesh.gltf", "mesh.ply.gz"])
def test_other_suffixes_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"expected \.ply, \.obj, \.stl or \.glb"):
        save_mesh(tmp_path / name, TETRA)
    assert names(tmp_path) == []


def test_colours_and_values_of_vertices_are_written_where_there_is_a_place(tmp_path: Path) -> None:
    mesh = box()
    colors = np.arange(3 * len(mesh.vertices), dtype=np.uint8).reshape(-1, 3)
    values = {"support": np.linspace(0.0, 1.0, len(mesh.vertices))}
    for suffix in (".ply", ".obj", ".glb", ".stl"):
        path = save_mesh(tmp_path / f"a{suffix}", mesh, colors=colors, values=values)
        np.testing.assert_allclose(sorted(load_mesh(path).face_areas), sorted(mesh.face_areas), rtol=1e-6)
        if suffix != ".stl":
            read = trimesh.load(path, force="mesh", process=False)
            np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], colors)
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0]
    assert b"property float support" in header
    raw = trimesh.load(tmp_path / "a.ply", process=False).metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_allclose(raw["support"].ravel(), values["support"], atol=1e-7)
