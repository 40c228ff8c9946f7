"""Files of a shape: samples and meshes are read back unchanged, by rows, and broken files are refused."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.plain_geometry import sphere
from helpers.small_dataset import COUNT, SURFACE_COUNT, some_mesh, some_samples
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from shapeprior.datasets.shape_files import (
    SampleFile,
    mesh_name,
    random_row_ranges,
    read_mesh_unit,
    samples_name,
    write_mesh_unit,
    write_samples,
)
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_samples_come_back(dtype: str, store: LocalStore) -> None:
    samples = some_samples(3, dtype)
    assert samples.surface is not None
    write_samples(store, "chairs/a", samples)
    file = SampleFile(store, "chairs/a")
    assert (file.count, file.surface_count) == (COUNT, SURFACE_COUNT)
    found = file.samples([(0, COUNT)])
    for name in ("points_unit", "sdf", "strategy"):
        assert getattr(found, name).dtype == getattr(samples, name).dtype
        assert getattr(found, name).tobytes() == getattr(samples, name).tobytes()
    surface = file.surface([(0, SURFACE_COUNT)])
    assert surface.points_unit.tobytes() == samples.surface.points_unit.tobytes()
    assert surface.normals_unit.tobytes() == samples.surface.normals_unit.tobytes()
    assert found.surface is None


def test_blocks_are_joined_in_their_order(store: LocalStore) -> None:
    samples = some_samples(4)
    write_samples(store, "a", samples)
    found = SampleFile(store, "a").samples([(190, 200), (0, 5), (7, 7)])
    rows = [*range(190, 200), *range(5)]
    np.testing.assert_array_equal(found.points_unit, samples.points_unit[rows])
    np.testing.assert_array_equal(found.sdf, samples.sdf[rows])
    np.testing.assert_array_equal(found.strategy, samples.strategy[rows])


def test_surface_points_are_there_if_they_were_written(store: LocalStore) -> None:
    write_samples(store, "a", some_samples(surface=False))
    assert SampleFile(store, "a").surface_count is None


def test_the_hash_is_that_of_the_file(store: LocalStore) -> None:
    for name, found in (
        (samples_name("a"), write_samples(store, "a", some_samples())),
        (mesh_name("a"), write_mesh_unit(store, "a", some_mesh())),
    ):
        assert found == hashlib.sha256(store.read(name)).hexdigest()


def test_the_same_samples_are_the_same_bytes(store: LocalStore) -> None:
    assert write_samples(store, "a", some_samples()) == write_samples(store, "b", some_samples())
    assert write_samples(store, "b", some_samples(1)) != write_samples(store, "a", some_samples())


@pytest.mark.parametrize(("mesh", "size"), [(some_mesh(), 4), (sphere(radius=0.9, subdivisions=1), 8)])
def test_meshes_come_back_exactly(mesh: TriangleMesh, size: int, store: LocalStore) -> None:
    write_mesh_unit(store, "a", mesh)
    found = read_mesh_unit(store, "a")
    assert found.vertices.tobytes() == mesh.vertices.tobytes()
    assert found.faces.dtype == np.int64
    np.testing.assert_array_equal(found.faces, mesh.faces)
    # Positions that float32 holds take half the space.
    stored = load_file(store.root / mesh_name("a"))
    assert (stored["vertices"].dtype.itemsize, stored["faces"].dtype) == (size, np.int32)


def test_random_blocks_go_on_at_the_first_row() -> None:
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(300):
        rows = [row for start, stop in random_row_ranges(4, 7, rng=rng) for row in range(start, stop)]
        assert rows == [(rows[0] + step) % 7 for step in range(4)]
        starts.add(rows[0])
    assert starts == set(range(7))
    for count, total in ((7, 7), (1, 1), (0, 5), (0, 0)):
        blocks = random_row_ranges(count, total, rng=rng)
        assert sum(stop - start for start, stop in blocks) == count
        assert all(0 <= start <= stop <= total for start, stop in blocks)


# Broken files.


def without(*names: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        save_file({name: tensor for name, tensor in load_file(path).items() if name not in names}, path)

    return change


def replacing(name: str, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        save_file({**load_file(path), name: np.ascontiguousarray(convert(load_file(path)[name]))}, path)

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def as_bfloat16(path: Path) -> None:
    save_torch_file({name: torch.zeros(3, 3, dtype=torch.bfloat16) for name in load_file(path)}, path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")


FILES = [Path.unlink, cut, lengthen, empty, as_bfloat16, folder_instead, a_pickle]


@pytest.mark.parametrize(
    "damage",
    [
        *FILES,
        without("sdf"),
        without("points_unit"),
        without("strategy"),
        without("surface_normals_unit"),
        replacing("sdf", lambda t: t[:-1]),
        replacing("sdf", lambda t: t[:, None]),
        replacing("sdf", lambda t: t.astype(np.float64)),
        replacing("sdf", lambda t: t.astype(np.float32)),
        replacing("points_unit", lambda t: t[:, :2]),
        replacing("points_unit", lambda t: t.astype(np.int32)),
        replacing("strategy", lambda t: t[1:]),
        replacing("strategy", lambda t: t.astype(np.int32)),
        replacing("surface_points_unit", lambda t: t[1:]),
        replacing("surface_points_unit", lambda t: t.astype(np.float16)),
        replacing("surface_normals_unit", lambda t: t[:, 0]),
    ],
)
def test_broken_samples_are_refused(damage: Callable[[Path], None], store: LocalStore) -> None:
    for shape_id in ("a", "c"):
        write_samples(store, shape_id, some_samples())
    damage(store.root / samples_name("c"))
    with pytest.raises(DatasetError, match=r"shapeprior prepare|check name") as caught:
        SampleFile(store, "c")
    assert str(store.root / samples_name("c")) in str(caught.value)
    assert "\n" not in str(caught.value)
    SampleFile(store, "a")


@pytest.mark.parametrize(
    "damage",
    [
        *FILES,
        without("faces"),
        without("vertices"),
        replacing("faces", lambda t: t + 1),
        replacing("faces", lambda t: t - 1),
        replacing("faces", lambda t: t[:, :2]),
        replacing("faces", lambda t: t.astype(np.float32)),
        replacing("vertices", lambda t: t[:-1]),
        replacing("vertices", lambda t: t.astype(np.float16)),
        replacing("vertices", lambda t: t.reshape(-1)),
    ],
)
def test_broken_meshes_are_refused(damage: Callable[[Path], None], store: LocalStore) -> None:
    write_mesh_unit(store, "c", some_mesh())
    damage(store.root / mesh_name("c"))
    with pytest.raises(DatasetError, match=r"shapeprior prepare|check name") as caught:
        read_mesh_unit(store, "c")
    assert str(store.root / mesh_name("c")) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_meshes_and_samples_are_whole(store: LocalStore) -> None:
    nothing = TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int64))
    write_mesh_unit(store, "a", nothing)
    assert len(read_mesh_unit(store, "a").faces) == 0
    samples = some_samples(surface=False)
    none = {name: getattr(samples, name)[:0] for name in ("points_unit", "sdf", "strategy")}
    write_samples(store, "a", replace(samples, **none))
    assert len(SampleFile(store, "a").samples([(0, 0)]).sdf) == 0


def test_ids_that_leave_the_folder_are_refused(store: LocalStore) -> None:
    for call in (
        lambda: write_samples(store, "../../a", some_samples()),
        lambda: write_mesh_unit(store, "/a", some_mesh()),
        lambda: SampleFile(store, "../a"),
        lambda: read_mesh_unit(store, "a/../../b"),
    ):
        with pytest.raises(DatasetError, match="expected letters, digits"):
            call()
    assert list(store.root.iterdir()) == []
