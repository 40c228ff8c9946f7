"""Stretched copies of training shapes: what a small collection lacks is not time but shapes.

Fifty chairs teach a decoder fifty chairs. The same chairs, each a little wider, lower or deeper in seven further ways, have
legs, seats and backs in more proportions than were drawn, and unseen shapes are met nearer (docs/ablation.md has by how much).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shapeprior.errors import DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.mesh_source import MeshSource
from shapeprior.records import Split


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
