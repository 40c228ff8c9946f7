"""Reading and writing meshes: OBJ, PLY, STL, OFF and GLB, through trimesh."""

import io
import json
import os
import struct
import uuid
from pathlib import Path

import numpy as np

from shapeprior.errors import MeshError, OutputError
from shapeprior.mesh import TriangleMesh

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb")
"""The formats read and (but for OFF) written. GLTF with outside buffers is left out: an untrusted file names no others."""

MAX_FILE_BYTES = 1 << 30
MAX_FACES = 20_000_000


def load_mesh(path: str | os.PathLike[str]) -> TriangleMesh:
    """Read a mesh file; GLB node transforms are applied and all parts are joined.

    Vertices and faces come back as stored, uncleaned, in the file's frame and unit (`mesh_world`).
    Raises MeshError, naming the file, for anything that is not a finite triangle mesh of bounded size.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in MESH_SUFFIXES:
        raise MeshError(f"{path}: suffix '{path.suffix}'; expected one of {' '.join(MESH_SUFFIXES)}; convert the file")
    data = _read_bytes(path)
    _refuse_false_sizes(path, kind, data)
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
) -> Path:
    """Write PLY (binary), OBJ, STL (binary) or GLB, by the suffix; the file appears whole or not at all.

    Raises OutputError if the suffix is another one or the file cannot be written.
    """
    import trimesh

    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".ply", ".obj", ".stl", ".glb"):
        raise OutputError(f"{path}: suffix '{path.suffix}'; expected .ply .obj .stl or .glb; name the output so")
    solid = trimesh.Trimesh(vertices=mesh.vertices, faces=mesh.faces, process=False)
    data = solid.export(file_type=kind[1:])
    if isinstance(data, str):
        data = data.encode()
    assert isinstance(data, bytes)
    write_bytes(path, data)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a neighbour first, then renamed. Raises OutputError."""
    neighbour = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(neighbour, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(neighbour, path)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}; expected a place that can be written; choose another output"
        ) from None
    finally:
        neighbour.unlink(missing_ok=True) if _parent_is_folder(neighbour) else None


def _parent_is_folder(path: Path) -> bool:
    try:
        return path.parent.is_dir()
    except OSError:
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise MeshError(f"{path}: not a file; expected a mesh file; name one")
        if size == 0:
            raise MeshError(f"{path}: the file is empty; expected a triangle mesh; export it again")
        if size > MAX_FILE_BYTES:
            raise MeshError(
                f"{path}: {size / 2**30:.1f} GiB; expected at most {MAX_FILE_BYTES / 2**30:.0f} GiB; decimate the mesh"
            )
        return path.read_bytes()
    except OSError as error:
        raise MeshError(f"{path}: {error.strerror}; expected a readable mesh file; check the name") from None


def _refuse_false_sizes(path: Path, kind: str, data: bytes) -> None:
    """A header may promise more elements than the file has bytes; believing it would exhaust the memory."""
    promised = 0
    try:
        if kind == ".off":
            tokens = data[:1000].replace(b"OFF", b" ").split()
            promised = max((int(token) for token in tokens[:2]), default=0)
        elif kind == ".ply":
            header = data[: data.find(b"end_header")].split(b"\n")
            promised = sum(int(line.split()[2]) for line in header if line.startswith(b"element "))
        elif kind == ".glb":
            length = struct.unpack("<I", data[12:16])[0]
            document = json.loads(data[20 : 20 + length])
            # Accessors may share bytes, but not without end.
            promised = sum(int(accessor["count"]) for accessor in document.get("accessors", [])) // 16
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error):
        raise MeshError(f"{path}: the header is broken; expected a {kind[1:].upper()} mesh; export it again") from None
    if promised > len(data):
        raise MeshError(
            f"{path}: the header promises {promised} elements in {len(data)} bytes; expected a header that fits "
            "the file; export it again"
        )


def _parse(path: Path, kind: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    if kind in (".obj", ".off") and (data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:200]):
        raise MeshError(f"{path}: UTF-16 text or binary; expected UTF-8 text; save the file as UTF-8")
    try:
        options = {"skip_materials": True} if kind == ".obj" else {}
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind[1:], process=False, **options)
        parts = [
            (scene.geometry[name], matrix)
            for matrix, name in (scene.graph[node] for node in sorted(scene.graph.nodes_geometry))
            if isinstance(scene.geometry[name], trimesh.Trimesh)
        ]
        total = sum(len(part.faces) for part, _ in parts)
        if total > MAX_FACES:
            raise MeshError(f"{path}: {total} faces; expected at most {MAX_FACES}; decimate the mesh")
        vertices, faces, offset = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)], 0
        for part, matrix in parts:
            points = np.asarray(part.vertices, dtype=np.float64)
            corners = np.asarray(part.faces, dtype=np.int64)
            with np.errstate(invalid="ignore", over="ignore"):
                points = points @ matrix[:3, :3].T + matrix[:3, 3]
            # A node that mirrors its mesh turns every face inside out.
            faces.append((corners if np.linalg.det(matrix[:3, :3]) >= 0 else corners[:, ::-1]) + offset)
            vertices.append(points)
            offset += len(points)
        clouds = [g for g in scene.geometry.values() if isinstance(g, trimesh.PointCloud)]
        if not parts and clouds:
            vertices.extend(np.asarray(cloud.vertices, dtype=np.float64) for cloud in clouds)
        return np.concatenate(vertices), np.concatenate(faces)
    except MeshError:
        raise
    except MemoryError:
        raise MeshError(f"{path}: does not fit in memory; expected a mesh that does; decimate it") from None
    # Parsers of untrusted bytes raise whatever they stumble over; each of these is the file's fault, and says so.
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
        NotImplementedError,
        OSError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise MeshError(
            f"{path}: cannot be read ({reason}); expected a {kind[1:].upper()} mesh; export it again"
        ) from None
