"""A second reader of data sets, written from docs/formats.md alone: it imports nothing of the package."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I32": "<i4", "U8": "u1"}


def read_manifest(root: Path) -> dict[str, Any]:
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == "shapeprior-dataset"
    assert manifest["version"] == 2
    return manifest


def read_rows(path: Path, tensor: str, start: int, stop: int) -> np.ndarray:
    """Rows of a tensor, by seeking to them."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[tensor]
        dtype, shape = np.dtype(TYPES[entry["dtype"]]), entry["shape"]
        row = dtype.itemsize * int(np.prod(shape[1:]))
        file.seek(8 + length + entry["data_offsets"][0] + start * row)
        return np.frombuffer(file.read((stop - start) * row), dtype).reshape(-1, *shape[1:])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
