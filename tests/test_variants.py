"""Stretched copies: of training shapes only, measured like any mesh, and the same every time."""

from dataclasses import replace
from pathlib import Path

import igl
import numpy as np
import pytest
from plain_geometry import box, sphere, torus

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.mesh_source import MeshSource
from shapeprior.datasets.prepare import left_over, prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.datasets.splits import stretched, with_variants
from shapeprior.errors import DatasetError
from shapeprior.io.meshes import save_mesh
from shapeprior.sdf.sampling import SamplingConfig

CONFIG = PrepareConfig(sampling=SamplingConfig.deepsdf(300), test_share=0.4, variants=2)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    shapes = {"ball": sphere(subdivisions=2), "box": box(extents=(1.0, 2.0, 3.0)), "ring": torus(major=0.7, minor=0.2)}
    shapes |= {"cube": box(), "slab": box(extents=(3.0, 0.4, 2.0))}
    for name, mesh in shapes.items():
        save_mesh(folder / f"{name}.ply", mesh)
    return folder


def prepare(meshes: Path, out: Path, *, config: PrepareConfig = CONFIG, workers: int = 0) -> Dataset:
    return prepare_dataset(meshes, out, config=config, seed=3, workers=workers)


def test_only_training_shapes_have_variants_and_the_split_is_that_without(meshes: Path, tmp_path: Path) -> None:
    plain = prepare(meshes, tmp_path / "plain", config=replace(CONFIG, variants=0))
    data = prepare(meshes, tmp_path / "out")
    assert [shape.id for shape in data.split("test")] == [shape.id for shape in plain.split("test")]
    names = [shape.id for shape in plain.split("train")]
    expected = {name + tail for name in names for tail in ("", ".stretched1", ".stretched2")}
    assert {shape.id for shape in data.split("train")} == expected
    assert not data.refused
    for name in names:
        # The shapes themselves are the same bytes as without variants.
        assert (tmp_path / "plain/samples" / f"{name}.safetensors").read_bytes() == (
            tmp_path / "out/samples" / f"{name}.safetensors"
        ).read_bytes()


def test_a_variant_is_a_stretched_mesh_in_the_unit_sphere_with_its_own_exact_distances(
    meshes: Path, tmp_path: Path
) -> None:
    data = prepare(meshes, tmp_path / "out")
    for shape in data.split("train"):
        mesh = data.mesh_unit(shape.id)
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1 / 1.03, rel=1e-3)
        samples = data.samples(shape.id)
        truth = igl.signed_distance(
            samples.points_unit.astype(np.float64),
            mesh.vertices,
            mesh.faces,
            sign_type=igl.SIGNED_DISTANCE_TYPE_WINDING_NUMBER,
        )[0]
        np.testing.assert_allclose(samples.sdf.astype(np.float64), truth, atol=2e-3)
    original = data.split("train")[0].id.removesuffix(".stretched1")
    extents = [np.ptp(data.mesh_unit(original + tail).bounds, axis=0) for tail in ("", ".stretched1", ".stretched2")]
    ratios = np.array([each / each[0] for each in extents])
    assert len(np.unique(np.round(ratios[:, 1], 3))) == 3


def test_any_number_of_workers_writes_the_same_bytes(meshes: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "one")
    prepare(meshes, tmp_path / "two", workers=2)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) > 20
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_later_run_may_ask_for_more_or_fewer(meshes: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "grown", config=replace(CONFIG, variants=1))
    grown, whole = prepare(meshes, tmp_path / "grown"), prepare(meshes, tmp_path / "whole")
    assert [shape.samples_sha256 for shape in grown.shapes] == [shape.samples_sha256 for shape in whole.shapes]
    fewer = prepare(meshes, tmp_path / "grown", config=replace(CONFIG, variants=0))
    assert len(fewer.split("train")) == 3
    assert len(left_over(fewer)) == 6


def test_factors_follow_the_stated_deviation() -> None:
    cube = box()
    rng = np.random.default_rng(0)
    factors = np.array([np.ptp(stretched(cube, 0.2, rng=rng).bounds, axis=0) for _ in range(2000)])
    np.testing.assert_allclose(np.log(factors).std(axis=0), 0.2, rtol=0.06)
    np.testing.assert_allclose(np.log(factors).mean(axis=0), 0.0, atol=0.015)
    np.testing.assert_allclose(np.corrcoef(np.log(factors).T), np.eye(3), atol=0.08)


def test_samples_without_a_mesh_have_none_and_ids_that_clash_are_refused() -> None:
    sources = [MeshSource(shape_id=name, path=Path(f"{name}.npz"), name=f"{name}.npz") for name in ("a", "b")]
    kept, splits = with_variants(sources, {"a": "train", "b": "test"}, 3)
    assert kept == sources
    assert splits == {"a": "train", "b": "test"}
    clash = [MeshSource(shape_id=i, path=Path(f"{i}.ply"), name=f"{i}.ply") for i in ("a", "a.stretched1")]
    with pytest.raises(DatasetError, match=r"its variant 1 would have the id a\.stretched1 of another shape; rename"):
        with_variants(clash, {"a": "train", "a.stretched1": "test"}, 1)
