"""Files of scans, written plainly by other means than the package's readers know, and damage done to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


def lzf_compress(data: bytes) -> bytes:
    """LZF by the format's description: the nearest earlier place of three equal bytes, as far as it goes."""
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
    """A PCD file of fields (name, type letter, bytes, an array of one row a point)."""
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
    """The content cut at many places, and with some bytes changed, mostly in its head."""
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
    """The path, with this content."""
    path.write_bytes(content)
    return path
