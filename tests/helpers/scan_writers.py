"""Files of scans, written by other means than the package's readers use, and checks of readers with damaged files."""

import io
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from shapeprior.errors import ScanError
from shapeprior.io.point_files import read_cloud
from shapeprior.scans.read import read_scan

NORMALS = np.random.default_rng(0).normal(size=(60, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
POINTS = NORMALS * [1.0, 2.0, 3.0]
"""Points on an ellipsoid, with unit vectors for their normals."""


def lzf_compress(data: bytes) -> bytes:
    """Compress by the description of LZF: refer to the last place of three equal bytes, as far as they stay equal."""
    out, literals, seen, at = bytearray(), bytearray(), {}, 0

    def flush() -> None:
        for start in range(0, len(literals), 32):
            run = literals[start : start + 32]
            out.append(len(run) - 1)
            out.extend(run)
        literals.clear()

    while at < len(data):
        key = data[at : at + 3]
        before = seen.get(key, -1)
        seen[key] = at
        if len(key) == 3 and before >= 0 and at - before <= 8192:
            length = 3
            while at + length < len(data) and length < 264 and data[before + length] == data[at + length]:
                length += 1
            flush()
            distance = at - before - 1
            if length - 2 < 7:
                out.append((length - 2) << 5 | distance >> 8)
            else:
                out += bytes([7 << 5 | distance >> 8, length - 2 - 7])
            out.append(distance & 255)
            at += length
        else:
            literals.append(data[at])
            at += 1
    flush()
    return bytes(out)


def pcd_bytes(
    fields: Sequence[tuple[str, str, int, np.ndarray]],
    *,
    data: str,
    viewpoint: str | None = "0 0 0 1 0 0 0",
    height: int = 1,
) -> bytes:
    """Return a PCD file of fields (name, type letter, bytes, an array with one row a point)."""
    tables = [array.reshape(len(array), -1).astype(f"<{kind.lower()}{size}") for _, kind, size, array in fields]
    points = len(tables[0])
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(name for name, *_ in fields),
        "SIZE " + " ".join(str(size) for _, _, size, _ in fields),
        "TYPE " + " ".join(kind for _, kind, *_ in fields),
        "COUNT " + " ".join(str(table.shape[1]) for table in tables),
        f"WIDTH {points // height}",
        f"HEIGHT {height}",
        *([f"VIEWPOINT {viewpoint}"] if viewpoint is not None else []),
        f"POINTS {points}",
        f"DATA {data}",
    ]
    head = ("\n".join(lines) + "\n").encode()
    if data == "ascii":
        rows = [" ".join(repr(value.item()) for table in tables for value in table[row]) for row in range(points)]
        return head + ("\n".join(rows) + "\n").encode()
    if data == "binary":
        return head + b"".join(table[row].tobytes() for row in range(points) for table in tables)
    whole = b"".join(table[:, column].tobytes() for table in tables for column in range(table.shape[1]))
    packed = lzf_compress(whole)
    return head + np.array([len(packed), len(whole)], "<u4").tobytes() + packed


def damaged(content: bytes, *, count: int, seed: int, head: int = 500) -> Iterator[bytes]:
    """Yield the content cut at many places, and with some bytes changed, mostly in its first `head` bytes."""
    rng = np.random.default_rng(seed)
    for trial in range(count):
        changed = bytearray(content)
        if trial % 3 == 0:
            del changed[int(rng.integers(1, len(content))) :]
        else:
            for _ in range(1 + trial % 4):
                at = int(rng.integers(min(len(content), head) if trial % 2 else len(content)))
                width = int(rng.choice([1, 1, 2, 4]))
                values = [rng.bytes(width), b"\xff" * width, b"\0" * width, b"9" * width]
                changed[at : at + width] = values[int(rng.integers(4))]
        yield bytes(changed)


def saved(path: Path, content: bytes) -> Path:
    """Write the content, and return the path."""
    path.write_bytes(content)
    return path


def ply_bytes(points: np.ndarray, *, mesh: bool, encoding: str) -> bytes:
    """Return a PLY file as trimesh writes it, of points or of a mesh with 42 vertices."""
    made = trimesh.creation.icosphere(subdivisions=1)
    made.vertices = points
    data = (made if mesh else trimesh.PointCloud(points)).export(file_type="ply", encoding=encoding)
    return data if isinstance(data, bytes) else str(data).encode()


def npy_bytes(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    """Return an NPY file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npz_bytes(**arrays: object) -> bytes:
    """Return a compressed NPZ file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def png_bytes(array: np.ndarray) -> bytes:
    """Return a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def refused_scan(path: Path, **options: object) -> str:
    """Return the text of the ScanError for a scan: one line that begins with its path or that of an option."""
    with pytest.raises(ScanError) as caught:
        read_scan(path, **options)  # pyright: ignore[reportArgumentType]
    message = str(caught.value)
    assert message.startswith(tuple(str(file) for file in (path, *options.values()))), message
    assert "\n" not in message, message
    return message


def check_damaged_cloud(path: Path, content: bytes, *, head: int) -> None:
    """Check that damaged copies of a file give finite points or one line, in little memory."""
    messages = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for changed in damaged(content, count=150, seed=1, head=head):
        path.write_bytes(changed)
        try:
            cloud = read_cloud(path)
        except ScanError as error:
            messages.append(str(error))
        else:
            assert np.isfinite(cloud.points).all()
            assert cloud.normals is None or np.isfinite(cloud.normals).all()
    assert len(messages) >= 50
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)
    if sys.platform == "linux":
        # Some of the files state gigabytes; no reader asked for them.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
