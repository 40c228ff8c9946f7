"""Ids and splits of shapes. Both stay what they are when the collection grows: test shapes must never have been trained on.

Stretched copies of training shapes: what a small collection lacks is not time but shapes.

Fifty chairs teach a decoder fifty chairs. The same chairs, each a little wider, lower or deeper in seven further ways, have
legs, seats and backs in more proportions than were drawn, and unseen shapes are met nearer (docs/ablation.md has by how much).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shapeprior.datasets.manifest import Record, ShapeRecord, Split
from shapeprior.datasets.mesh_source import MeshSource, shape_ids
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh


def keep_ids(sources: Sequence[MeshSource], records: Mapping[str, Record]) -> list[MeshSource]:
    """The sources, each under the id that it has in the records of earlier runs, by its name.

    A collection makes ids unique by numbers, so that a new file ("mug.glb") may lay claim to the id of an old one
    ("mug.obj"); it gets a number of its own then.
    """
    recorded = {record.source: record.id for record in records.values()}
    kept = [recorded[source.name] for source in sources if source.name in recorded]
    new = [source for source in sources if source.name not in recorded]
    ids = recorded | dict(
        zip(
            [source.name for source in new],
            shape_ids([source.shape_id for source in new], taken=kept),
            strict=True,
        )
    )
    return [replace(source, shape_id=ids[source.name]) for source in sources]


def assign_splits(
    sources: Sequence[MeshSource], records: Mapping[str, Record], *, test_share: float, seed: int
) -> dict[str, Split]:
    """The split of each shape, by id.

    What a collection states holds. Of the other shapes, those of earlier runs stay where they are, and the new ones are
    ranked by a hash of seed and id: the first go to the test split, as many as bring it to `test_share` of old and new
    together. So a split depends on the seed, the ids and what was there, but not on which shapes are refused.
    """
    stated: dict[str, Split] = {source.shape_id: source.split for source in sources if source.split is not None}
    free = [source.shape_id for source in sources if source.shape_id not in stated]
    settled: dict[str, Split] = {
        shape_id: record.split for shape_id in free if isinstance(record := records.get(shape_id), ShapeRecord)
    }
    new = sorted((shape_id for shape_id in free if shape_id not in settled), key=lambda shape_id: _rank(seed, shape_id))
    missing = round(len(free) * test_share) - sum(split == "test" for split in settled.values())
    test = set(new[: max(0, missing)])
    return {
        source.shape_id: stated.get(source.shape_id)
        or settled.get(source.shape_id)
        or ("test" if source.shape_id in test else "train")
        for source in sources
    }


def _rank(seed: int, shape_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{shape_id}".encode()).digest()


def with_variants(
    sources: Sequence[MeshSource], splits: Mapping[str, Split], count: int
) -> tuple[list[MeshSource], dict[str, Split]]:
    """Behind each mesh of the training split, `count` stretched copies of it, and the splits of all.

    Test shapes have none: they stay what they are, and no shape that a variant was made of is among them. Nor have DeepSDF's
    samples, which have no mesh. Raises DatasetError if a variant's id is that of another shape.
    """
    all_sources, all_splits = [], dict(splits)
    for source in sources:
        all_sources.append(source)
        if splits[source.shape_id] == "test" or source.path.suffix == ".npz":
            continue
        for variant in range(1, count + 1):
            shape_id = f"{source.shape_id}.stretched{variant}"
            if shape_id in all_splits:
                raise DatasetError(
                    f"{source.name}: its variant {variant} would have the id {shape_id} of another shape; rename the file"
                )
            all_sources.append(
                replace(source, shape_id=shape_id, name=f"{source.name} (stretched {variant})", variant=variant)
            )
            all_splits[shape_id] = "train"
    return all_sources, all_splits


def stretched(mesh: TriangleMesh, deviation: float, *, rng: np.random.Generator) -> TriangleMesh:
    """The mesh scaled along each axis by a factor of its own, whose logarithm is normally distributed."""
    return TriangleMesh(vertices=mesh.vertices * np.exp(rng.normal(0.0, deviation, size=3)), faces=mesh.faces)
