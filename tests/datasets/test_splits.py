"""Ids and splits stay what they are while a collection grows; variants are made of training shapes only."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import igl
import numpy as np
import pytest
from helpers.plain_geometry import box, sphere, torus
from hypothesis import given
from hypothesis import strategies as st

from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.manifest import RefusedShape, ShapeRecord
from shapeprior.datasets.mesh_source import MeshSource, Split, with_unique_ids
from shapeprior.datasets.prepare import orphaned_ids, prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.datasets.splits import add_variants, assign_splits, keep_recorded_ids, stretch_mesh
from shapeprior.errors import DatasetError
from shapeprior.io.meshes import save_mesh
from shapeprior.sdf.sampling import SamplingConfig

HASH = 64 * "0"


def sources(names: Iterable[str], split: Split | None = None) -> list[MeshSource]:
    """Return what `find_sources` would make of a folder with these files."""
    return with_unique_ids([MeshSource.below(Path(), Path(name), split=split) for name in sorted(names)])


def shape(source: MeshSource, split: Split) -> ShapeRecord:
    return ShapeRecord(
        id=source.shape_id,
        source=source.name,
        source_sha256=HASH,
        category="",
        split=split,
        samples=1,
        samples_sha256=HASH,
        mesh_sha256=None,
        T_unit_world=None,
        unit=None,
        up="y",
        confidence=None,
        checks={},
    )


def refusal(source: MeshSource) -> RefusedShape:
    return RefusedShape(
        id=source.shape_id, source=source.name, source_sha256=HASH, kind="refused", reason=f"{source.name}: bad"
    )


def run(
    found: list[MeshSource],
    records: Mapping[str, ShapeRecord | RefusedShape] = {},
    *,
    share: float = 0.25,
    bad: Iterable[str] = (),
) -> dict[str, ShapeRecord | RefusedShape]:
    """Return the records that a run leaves behind in which the files `bad` are refused."""
    found = keep_recorded_ids(found, records)
    splits = assign_splits(found, records, test_share=share, seed=3)
    assert list(splits) == [source.shape_id for source in found]
    return {
        **records,
        **{s.shape_id: refusal(s) if s.name in bad else shape(s, splits[s.shape_id]) for s in found},
    }


def splits_of(records: Mapping[str, ShapeRecord | RefusedShape]) -> dict[str, str]:
    return {record.source: record.split for record in records.values() if isinstance(record, ShapeRecord)}


def held_out(records: Mapping[str, ShapeRecord | RefusedShape]) -> int:
    return list(splits_of(records).values()).count("test")


@pytest.mark.parametrize("share", [0.0, 0.2, 1 / 3, 1.0])
def test_the_share_is_right_and_the_choice_is_a_matter_of_names(share: float) -> None:
    names = [f"mug{number}.obj" for number in range(50)]
    records = run(sources(names), share=share)
    assert held_out(records) == round(50 * share)
    assert splits_of(run(sources(names)[::-1], share=share)) == splits_of(records)


NAMES = st.sets(st.sampled_from([f"{stem}{suffix}" for stem in "abcdefgh" for suffix in (".obj", ".glb", "_2.ply")]))


@given(NAMES, NAMES, NAMES, NAMES, st.floats(0.0, 1.0))
def test_growing_moves_nobody_to_another_id_or_split(
    first: set[str], second: set[str], bad: set[str], gone: set[str], share: float
) -> None:
    before = run(sources(first), share=share, bad=bad)
    now = (first | second) - gone
    after = run(sources(now), before, share=share, bad=bad & second)
    for name in now & splits_of(before).keys():
        assert splits_of(after)[name] == splits_of(before)[name]
    ids = {record.source: record.id for record in after.values() if record.source in now}
    assert len(set(ids.values())) == len(now)
    for record in before.values():
        assert record.source in gone or ids[record.source] == record.id
    # In a further run nothing is new, so nothing changes.
    assert run(sources(now), after, share=share, bad=bad & second) == after


@given(NAMES, NAMES, st.floats(0.0, 1.0))
def test_new_shapes_bring_the_share_to_what_it_should_be(first: set[str], second: set[str], share: float) -> None:
    before = run(sources(first), share=share)
    everything = first | second
    after = run(sources(everything), before, share=share)
    assert held_out(before) == round(len(first) * share)
    # A larger collection never needs fewer test shapes, so the share is met exactly.
    assert held_out(after) == round(len(everything) * share)


@given(NAMES, NAMES)
def test_a_run_that_was_interrupted_assigns_what_an_uninterrupted_one_does(names: set[str], done: set[str]) -> None:
    whole = run(sources(names))
    partial = {shape_id: record for shape_id, record in whole.items() if record.source in done}
    assert run(sources(names), partial) == whole


def test_refusals_move_nobody() -> None:
    names = [f"mug{number}.obj" for number in range(40)]
    good, some = run(sources(names)), run(sources(names), bad=names[::3])
    assert all(splits_of(good)[name] == split for name, split in splits_of(some).items())
    # Once repaired, they take the places that were theirs.
    assert splits_of(run(sources(names), some)) == splits_of(good)


def test_what_a_collection_states_holds_and_does_not_count() -> None:
    stated = sources([f"held{number}.obj" for number in range(10)], "test")
    free = sources([f"mug{number}.obj" for number in range(20)])
    records = run([*stated, *free])
    assert all(splits_of(records)[source.name] == "test" for source in stated)
    assert held_out(records) == 10 + 5
    moved = run([*sources([source.name for source in stated], "train"), *free], records)
    assert held_out(moved) == 5


def test_a_new_file_does_not_take_the_id_of_an_old_one() -> None:
    before = run(sources(["mug.obj", "mug.ply"]))
    assert {record.source: record.id for record in before.values()} == {"mug.obj": "mug", "mug.ply": "mug_2"}
    after = run(sources(["mug.glb", "mug.obj", "mug.ply", "mug_2.stl"]), before)
    assert {record.source: record.id for record in after.values()} == {
        "mug.obj": "mug",
        "mug.ply": "mug_2",
        "mug.glb": "mug_3",
        "mug_2.stl": "mug_2_2",
    }


def test_a_file_in_another_format_takes_the_place_of_one_that_is_gone() -> None:
    before = run(sources(["mug.obj", "other.obj"]), share=0.5)
    after = run(sources(["mug.ply", "other.obj"]), before, share=0.5)
    assert after["mug"].source == "mug.ply"
    assert splits_of(after)["mug.ply"] == splits_of(before)["mug.obj"]


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
        # The shapes themselves have the same bytes as without variants.
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


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(meshes: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "one")
    prepare(meshes, tmp_path / "two", workers=2)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) > 20
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.slow
def test_a_later_run_may_ask_for_more_or_fewer(meshes: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "grown", config=replace(CONFIG, variants=1))
    grown, whole = prepare(meshes, tmp_path / "grown"), prepare(meshes, tmp_path / "whole")
    assert [shape.samples_sha256 for shape in grown.shapes] == [shape.samples_sha256 for shape in whole.shapes]
    fewer = prepare(meshes, tmp_path / "grown", config=replace(CONFIG, variants=0))
    assert len(fewer.split("train")) == 3
    assert len(orphaned_ids(fewer)) == 6


def test_factors_follow_the_stated_deviation() -> None:
    cube = box()
    rng = np.random.default_rng(0)
    factors = np.array([np.ptp(stretch_mesh(cube, 0.2, rng=rng).bounds, axis=0) for _ in range(2000)])
    np.testing.assert_allclose(np.log(factors).std(axis=0), 0.2, rtol=0.06)
    np.testing.assert_allclose(np.log(factors).mean(axis=0), 0.0, atol=0.015)
    np.testing.assert_allclose(np.corrcoef(np.log(factors).T), np.eye(3), atol=0.08)


def test_samples_without_a_mesh_have_none_and_ids_that_clash_are_refused() -> None:
    sources = [MeshSource(shape_id=name, path=Path(f"{name}.npz"), name=f"{name}.npz") for name in ("a", "b")]
    kept, splits = add_variants(sources, {"a": "train", "b": "test"}, 3)
    assert kept == sources
    assert splits == {"a": "train", "b": "test"}
    clash = [MeshSource(shape_id=i, path=Path(f"{i}.ply"), name=f"{i}.ply") for i in ("a", "a.stretched1")]
    with pytest.raises(DatasetError, match=r"its variant 1 would have the id a\.stretched1 of another shape; rename"):
        add_variants(clash, {"a": "train", "a.stretched1": "test"}, 1)
