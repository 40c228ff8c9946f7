"""TODO prepare."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from shapeprior.cli.arguments import Seed
from shapeprior.cli.console import print_line


def synthesize(
    family: Positional[Literal["can", "mug", "bowl", "camera", "airplane"]], *, count: int, out: Path, seed: Seed = 0
) -> None:
    """Generate closed, varied meshes of a family.

    Args:
        family: Which family.
        count: How many meshes.
        out: Folder for the meshes, one PLY each.
    """
    from shapeprior.datasets.procedural import synthesize_family

    paths = synthesize_family(family, count=count, out=out, seed=seed)
    print_line(f"{len(paths)} meshes of family {family} in {out}")


def prepare(
    meshes: Positional[Path],
    *,
    out: str,
    layout: Literal[
        "auto", "folder", "categories", "shapenet-v1", "shapenet-v2", "list", "deepsdf-split", "deepsdf-samples"
    ] = "auto",
    root: Path | None = None,
    category: tuple[str, ...] = (),
    samples: str = "10000",
    up: Literal["auto", "x", "y", "z"] = "auto",
    unit: str = "auto",
    test_share: float = 0.2,
    variants: int = 0,
    min_confidence: float = 0.3,
    workers: int | None = None,
    cluster: str | None = None,
    timeout: float = 120.0,
    memory: float = 8.0,
    seed: Seed = 0,
) -> None:
    """Turn a collection of meshes into a data set: cleaned, signed, sampled and split by shape.

    Run again with the same settings, it does what is missing: what was interrupted, and what is new or changed.

    Args:
        meshes: Folder of OBJ, PLY, STL, OFF and GLB files, subfolders included; or a list of meshes, a ShapeNetCore tree,
            a DeepSDF split or DeepSDF samples.
        out: Folder for the data set, or a URL such as s3://bucket/folder.
        layout: How the collection is laid out; auto sees it from what is there.
        root: Folder of the files that a list or split names.
        category: Only these categories, as words (mug) or synsets (03797390).
        samples: Samples a shape, up to 500,000 in all: a number for DeepSDF's mix, or counts such as near=9400,edges=600.
        up: The axis that points up in the meshes; auto takes what the collection or the file format says, or else y.
        unit: Length unit of the meshes, which is recorded: m, cm, mm, in, ft or metres; auto as for up.
        test_share: Share of shapes kept for evaluation, where the collection states no split.
        variants: Stretched copies of each training shape besides itself; 7 helped with 50 to 100 shapes.
        min_confidence: Refuse shapes where the tests of inside and outside agree on a smaller share of the surface.
        workers: Processes; all cores if not given. 0 works in the command's own process, for debugging.
        cluster: Address of a Dask scheduler, such as tcp://host:8786, whose workers do the work instead.
        timeout: Seconds that one shape may take.
        memory: GiB of memory that one worker may take.
    """
    from shapeprior.cli.console import prepare_progress, print_prepared
    from shapeprior.datasets.mesh_source import parse_unit
    from shapeprior.datasets.prepare import orphaned_ids, prepare_dataset
    from shapeprior.datasets.prepare_mesh import PrepareConfig
    from shapeprior.parallel.worker import WorkerLimits
    from shapeprior.sdf.sampling import parse_counts

    config = PrepareConfig(
        sampling=parse_counts(samples),
        up=up,
        unit=None if unit == "auto" else parse_unit(unit),
        test_share=test_share,
        variants=variants,
        min_confidence=min_confidence,
    )
    with prepare_progress() as progress:
        data = prepare_dataset(
            meshes,
            out,
            config=config,
            seed=seed,
            layout=layout,
            root=root,
            categories=category,
            workers=workers,
            cluster=cluster,
            limits=WorkerLimits(timeout=timeout, memory=memory),
            progress=progress.update,
        )
    print_prepared(data, progress=progress, left_over=orphaned_ids(data))


def inspect(mesh: Positional[Path], *, out: Path | None = None, up: Literal["auto", "x", "y", "z"] = "auto") -> None:
    """Show what preparation makes of one mesh: faces, parts, holes, sign confidence, and a picture of its field.

    Args:
        mesh: The mesh file.
        out: The picture, a PNG: the mesh beside three slices of its signed distance, blue inside; MESH.inspect.png here if
            not given.
        up: The axis that points up; auto takes what the file format says, or else y.
    """
    from shapeprior.cli.console import print_figures
    from shapeprior.visualization.inspection import inspect_mesh
    from shapeprior.visualization.pictures import save_picture

    found = inspect_mesh(mesh, up=up)
    print_figures(found.figures)
    print_line(f"picture  {save_picture(out or Path(mesh.stem + '.inspect.png'), found.picture)}")
