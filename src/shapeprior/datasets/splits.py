"""Ids, splits and stretched variants of the shapes of a collection.

Ids and splits stay what they are when the collection grows, so that no test shape has ever been trained on.

A small collection lacks shapes, not training time. Fifty chairs teach a decoder fifty chairs. The same chairs, each in
seven further versions a little wider, lower or deeper, show legs, seats and backs in more proportions, and the prior
fits unseen shapes better (docs/ablation.md has the figures).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shapeprior.datasets.manifest import RefusedShape, ShapeRecord
from shapeprior.datasets.mesh_source import MeshSource, Split, with_unique_ids
from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh


def keep_recorded_ids(
    sources: Sequence[MeshSource], records: Mapping[str, ShapeRecord | RefusedShape]
) -> list[MeshSource]:
    """Return the sources, in order, each under the id that the records of earlier runs have for its name.

    Ids are made unique by numbers, so a new file ("mug.glb") may get the id that an old one ("mug.obj") already has.
    The new file then gets a number of its own.
    """
    recorded_ids = {record.source: record.id for record in records.values()}
    known = [source for source in sources if source.name in recorded_ids]
    new = with_unique_ids(
        [source for source in sources if source.name not in recorded_ids],
        taken=[recorded_ids[source.name] for source in known],
    )
    ids = recorded_ids | {source.name: source.shape_id for source in new}
    return [replace(source, shape_id=ids[source.name]) for source in sources]


def assign_splits(
    sources: Sequence[MeshSource],
    records: Mapping[str, ShapeRecord | RefusedShape],
    *,
    test_share: float,
    seed: int,
) -> dict[str, Split]:
    """Return the split of each shape, by id.

    A split that the collection states is kept. The other shapes stay where earlier runs put them. New ones are ranked
    by a hash of seed and id, and the first of them go to the test split, as many as bring it to `test_share` of old and
    new shapes together. A split thus depends on the seed, the ids and the earlier shapes, and not on which shapes are
    refused.
    """
    stated: dict[str, Split] = {source.shape_id: source.split for source in sources if source.split is not None}
    unstated = [source.shape_id for source in sources if source.shape_id not in stated]
    recorded: dict[str, Split] = {
        shape_id: record.split for shape_id in unstated if isinstance(record := records.get(shape_id), ShapeRecord)
    }
    new = sorted((shape_id for shape_id in unstated if shape_id not in recorded), key=lambda id_: _rank(seed, id_))
    num_missing = round(len(unstated) * test_share) - sum(split == "test" for split in recorded.values())
    new_test = set(new[: max(0, num_missing)])
    return {
        source.shape_id: stated.get(source.shape_id)
        or recorded.get(source.shape_id)
        or ("test" if source.shape_id in new_test else "train")
        for source in sources
    }


def _rank(seed: int, shape_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{shape_id}".encode()).digest()


def add_variants(
    sources: Sequence[MeshSource], splits: Mapping[str, Split], count: int
) -> tuple[list[MeshSource], dict[str, Split]]:
    """Add `count` stretched copies behind each mesh of the training split; return all sources and their splits.

    Test shapes have no variants, so that no variant of a training shape is tested on and no test shape is altered.
    DeepSDF's samples have none because they have no mesh. Raises DatasetError if a variant would have the id of another
    shape.
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
                    f"{source.name}: its variant {variant} would have the id {shape_id} of another shape; "
                    "rename the file"
                )
            all_sources.append(
                replace(source, shape_id=shape_id, name=f"{source.name} (stretched {variant})", variant=variant)
            )
            all_splits[shape_id] = "train"
    return all_sources, all_splits


def stretch_mesh(mesh: TriangleMesh, deviation: float, *, rng: np.random.Generator) -> TriangleMesh:
    """Scale a mesh along each axis by a random factor of its own, whose logarithm is normally distributed."""
    return TriangleMesh(vertices=mesh.vertices * np.exp(rng.normal(0.0, deviation, size=3)), faces=mesh.faces)
