"""Mesh files: OBJ, PLY, STL, OFF and GLB are read by trimesh, and all but OFF are written.

Files are untrusted: their size, and the sizes that their headers state, are checked before trimesh reads them. PLY is
written by this module, in double precision where single precision would round the mesh, as in map coordinates far from
the origin.
"""

import codecs
import io
import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from shapeprior.errors import MeshError, OutputError, error_text
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.files import FileSpec, write_bytes

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb")
"""Formats that are read. GLTF with outside buffers is left out, since an untrusted file must not name others."""
OUTPUT_SUFFIXES = (".ply", ".obj", ".stl", ".glb")
"""Formats that are written."""
MAX_FACES = 20_000_000
"""Largest mesh that is read, in faces."""
MAX_ROUNDING = 2e-4
"""Largest rounding (see `single_precision_step`) with which a mesh is written in single precision where the format has
no other: a twentieth of a cell at 256³."""
MAX_PLY_ROUNDING = 1e-6
"""Largest rounding with which PLY is written in single precision."""
_MESH_FILE = FileSpec(
    error=MeshError,
    expected="a triangle mesh",
    advice="check the name, or export the mesh again",
    max_bytes=1 << 30,
    advice_if_large="decimate the mesh",
)
_UNREADABLE_EXTENSIONS = {"KHR_draco_mesh_compression", "EXT_meshopt_compression"}
_OBJ_INDEX_BELOW_ONE = re.compile(rb"^f[ \t](?:[^\n]*[ \t])?(?:-|0+(?:[/\s]|$))", re.MULTILINE)


def load_mesh(path: str | os.PathLike[str]) -> TriangleMesh:
    """Read a mesh file; the node transforms of a GLB are applied, and all parts are joined.

    Vertices and faces are those of the file, uncleaned, in its frame and unit (`mesh_world`). Raises MeshError, which
    names the file, for anything that is not a finite triangle mesh of bounded size.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in MESH_SUFFIXES:
        raise MeshError(f"{path}: suffix '{path.suffix}'; expected one of {' '.join(MESH_SUFFIXES)}; convert the file")
    data = _MESH_FILE.read_bytes(path)
    _check_stated_sizes(path, kind, data)
    vertices, faces = _parse(path, kind, data)
    if len(faces) == 0:
        found = f"{len(vertices)} points and no faces" if len(vertices) else "neither vertices nor faces"
        raise MeshError(f"{path}: {found}; expected a triangle mesh; a scan's points go to `shapeprior complete`")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise MeshError(
            f"{path}: faces refer to vertices {faces.min()} to {faces.max()}, but there are {len(vertices)}; "
            "expected indices within range; export the file again"
        )
    bad = int(np.count_nonzero(~np.isfinite(vertices[np.unique(faces)]).all(axis=1)))
    if bad:
        raise MeshError(f"{path}: {bad} vertices are NaN or infinite; expected finite positions; export the file again")
    return TriangleMesh(vertices=vertices, faces=faces)


def save_mesh(
    path: str | os.PathLike[str],
    mesh: TriangleMesh,
    *,
    colors: UInt8[np.ndarray, "vertices 3"] | None = None,
    values: Mapping[str, Float[np.ndarray, "vertices"]] | None = None,
) -> Path:
    """Write PLY (binary), OBJ, STL (binary) or GLB, by the suffix; the file appears whole or not at all.

    Args:
        path: The file, with one of `OUTPUT_SUFFIXES`.
        mesh: The mesh. PLY has positions in double precision where single precision would round them; STL and GLB have
            single precision only.
        colors: Red, green and blue of each vertex; left out of STL, which has no place for them.
        values: Numbers for each vertex, by name; written to PLY as float32 properties, and left out of the other
            formats.

    Returns:
        The path.

    Raises:
        OutputError: the suffix is another one, the mesh lies too far from the origin for the format, or the file cannot
            be written.
    """
    import trimesh

    path = Path(path)
    kind = path.suffix.lower()
    if kind not in OUTPUT_SUFFIXES:
        raise OutputError(f"{path}: suffix '{path.suffix}'; expected .ply, .obj, .stl or .glb; rename the output")
    if kind == ".ply":
        write_bytes(path, ply_bytes(mesh, colors=colors, values=values))
        return path
    if kind in (".stl", ".glb") and single_precision_step(mesh) > MAX_ROUNDING:
        distance = float(np.abs(mesh.vertices).max())
        raise OutputError(
            f"{path}: a mesh {np.ptp(mesh.vertices, axis=0).max():.3g} across, {distance:.3g} from the "
            f"origin; expected one nearer, since {kind[1:].upper()} has single precision, which would round its shape "
            "away; write .ply or .obj"
        )
    solid = trimesh.Trimesh(vertices=mesh.vertices, faces=mesh.faces, vertex_colors=colors, process=False)
    data = solid.export(file_type=kind[1:])
    if isinstance(data, str):
        data = data.encode()
    assert isinstance(data, bytes)
    write_bytes(path, data)
    return path


def _check_stated_sizes(path: Path, kind: str, data: bytes) -> None:
    """Refuse a header that states more elements than the file has bytes: believing it would exhaust the memory."""
    stated = 0
    try:
        if kind == ".off":
            stated = max(int(token) for token in _off_tokens(data)[1:3])
        elif kind == ".ply":
            header = data[: data.index(b"end_header")].split(b"\n")
            stated = sum(max(0, int(line.split()[2])) for line in header if line.startswith(b"element "))
        elif kind == ".glb":
            length = struct.unpack("<I", data[12:16])[0]
            stated = _elements_of_gltf(path, json.loads(data[20 : 20 + length]))
    # Brackets nested a thousand deep are a RecursionError.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        raise MeshError(
            f"{path}: the header is broken; expected a mesh in {kind[1:].upper()} format; export it again"
        ) from None
    if stated > len(data):
        raise MeshError(
            f"{path}: the header states {stated} elements in {len(data)} bytes; expected a header that fits "
            "the file; export it again"
        )


def _off_tokens(data: bytes) -> list[bytes]:
    """Return the keyword and the counts that an OFF file starts with, without comments."""
    tokens: list[bytes] = []
    for line in io.BytesIO(data):
        tokens += line.split(b"#")[0].split()
        if len(tokens) >= 3:
            break
    # Letters before OFF name what a vertex holds after its position. 4OFF and nOFF have positions of other sizes.
    if not re.fullmatch(rb"(ST)?C?N?OFF", tokens[0]):
        raise ValueError
    return tokens


def _elements_of_gltf(path: Path, document: dict[str, Any]) -> int:
    """Return a lower bound of the elements in the file if its accessors are true.

    Accessors may share bytes, so that only a sixteenth of their elements is demanded.
    """
    compressed = _UNREADABLE_EXTENSIONS.intersection(document.get("extensionsRequired", []))
    if compressed:
        raise MeshError(f"{path}: needs {min(compressed)}; expected plain GLB; export it without compression")
    counts = [max(0, int(accessor["count"])) for accessor in document.get("accessors", [])]
    used = [
        counts[accessor]
        for mesh in document.get("meshes", [])
        for primitive in mesh["primitives"]
        for accessor in (primitive["attributes"]["POSITION"], primitive.get("indices", 0))
    ]
    _check_face_count(path, corners=sum(used) // 2)
    return sum(counts) // 16


def _check_face_count(path: Path, *, faces: int = 0, corners: int = 0) -> None:
    """Refuse too many faces: a small file may use its bytes often, through meshes and nodes that share them."""
    if faces > MAX_FACES or corners > 3 * MAX_FACES:
        raise MeshError(
            f"{path}: {max(faces, corners // 3)} faces; expected at most {MAX_FACES} and three vertices each; "
            "decimate the mesh"
        )


def _plain_text(path: Path, kind: str, data: bytes) -> bytes:
    """Return the text of an OBJ or OFF file in UTF-8.

    Names and comments may be in any 8-bit code, since only numbers matter. Negative indices of an OBJ become absolute.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:200]:
        raise MeshError(f"{path}: UTF-16 text or binary; expected UTF-8 text; save the file as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("latin-1").encode()
    if kind == ".obj" and _OBJ_INDEX_BELOW_ONE.search(data):
        data = _with_absolute_indices(data)
    return data


def _with_absolute_indices(data: bytes) -> bytes:
    """Resolve an OBJ's negative indices from the last vertex so far; trimesh counts from the last of the file."""
    lines, num_vertices = data.splitlines(), 0
    for number, line in enumerate(lines):
        if line.startswith((b"v ", b"v\t")):
            num_vertices += 1
        elif line.startswith((b"f ", b"f\t")):
            indices = [int(corner.split(b"/")[0]) for corner in line.split(b"#")[0].split()[1:]]
            absolute = [index if index > 0 else num_vertices + 1 + index for index in indices]
            if 0 in indices or min(absolute) < 1:
                raise ValueError(f"line {number + 1} refers to no vertex")
            lines[number] = b"f " + b" ".join(b"%d" % index for index in absolute)
    return b"\n".join(lines) + b"\n"


def _parse(path: Path, kind: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        # `load_mesh` refuses positions beyond all bounds; NumPy need not warn of them as well.
        with np.errstate(all="ignore"):
            return _read_scene(path, kind, data)
    except MeshError:
        raise
    except MemoryError:
        raise MeshError(f"{path}: does not fit in memory; expected a mesh that does; decimate it") from None
    # Parsers of untrusted bytes raise whatever they stumble over; each of these is the file's fault.
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        struct.error,
        UnicodeError,
        AssertionError,
        ArithmeticError,
        NameError,
        OSError,
        RuntimeError,
    ) as error:
        # trimesh guesses the encoding of text that is not UTF-8 with a package that may be missing.
        reason = "not text" if isinstance(error, ImportError) else error_text(error)
        raise MeshError(
            f"{path}: cannot be read ({reason}); expected a mesh in {kind[1:].upper()} format; export it again"
        ) from None


def _read_scene(path: Path, kind: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    if kind in (".obj", ".off"):
        data = _plain_text(path, kind, data)
    options: dict[str, Any] = {"skip_materials": True} if kind in (".obj", ".ply", ".glb") else {}
    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind[1:], process=False, **options)
    # Sorted by mesh and place, since trimesh gives some nodes a random name and the order must not be left to chance.
    placements = sorted(
        (scene.graph[node] for node in scene.graph.nodes_geometry), key=lambda place: (place[1], place[0].tobytes())
    )
    parts = [(part, matrix) for matrix, name in placements if isinstance(part := scene.geometry[name], trimesh.Trimesh)]
    _check_face_count(
        path, faces=sum(len(part.faces) for part, _ in parts), corners=sum(len(part.vertices) for part, _ in parts)
    )
    vertices, faces, offset = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)], 0
    for part, matrix in parts:
        points = np.asarray(part.vertices, dtype=np.float64)
        corners = np.asarray(part.faces, dtype=np.int64)
        # A node that mirrors its mesh turns every face inside out.
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        faces.append((corners[:, ::-1] if mirrored else corners) + offset)
        vertices.append(points @ matrix[:3, :3].T + matrix[:3, 3])
        offset += len(points)
    if not parts:
        clouds = [cloud for cloud in scene.geometry.values() if isinstance(cloud, trimesh.PointCloud)]
        vertices.extend(np.asarray(cloud.vertices, dtype=np.float64) for cloud in clouds)
    return np.concatenate(vertices), np.concatenate(faces)


def ply_bytes(
    mesh: TriangleMesh,
    *,
    colors: UInt8[np.ndarray, "vertices 3"] | None = None,
    values: Mapping[str, Float[np.ndarray, "vertices"]] | None = None,
) -> bytes:
    """Return a mesh as a binary PLY file.

    Vertices have ``x y z`` as float or double, ``red green blue`` as bytes, and the named values as float properties;
    faces are lists of int. trimesh's own writer knows single precision only.
    """
    position = "<f4" if single_precision_step(mesh) <= MAX_PLY_ROUNDING else "<f8"
    kinds = [(axis, position) for axis in "xyz"]
    kinds += [(name, "u1") for name in ("red", "green", "blue")] if colors is not None else []
    kinds += [(name, "<f4") for name in values or {}]
    vertices = np.zeros(len(mesh.vertices), dtype=kinds)
    for column, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, column]
    if colors is not None:
        for column, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[:, column]
    for name, value in (values or {}).items():
        vertices[name] = value
    faces = np.zeros(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    type_names = {"<f4": "float", "<f8": "double", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property {type_names[kind]} {name}" for name, kind in kinds),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def single_precision_step(mesh: TriangleMesh) -> float:
    """Return the step between single-precision numbers where a mesh lies, as a share of the mesh's extent."""
    if len(mesh.vertices) == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # Beyond single precision's range the step is NaN.
        step = float(np.spacing(np.float32(np.abs(mesh.vertices).max())))
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    return step / extent if extent > 0.0 and np.isfinite(step) else np.inf
