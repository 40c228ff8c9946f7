"""The commands that make data sets: generate meshes, prepare a collection, and inspect one mesh."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from shapeprior.cli.arguments import Cluster, Memory, Seed, Up, Workers
from shapeprior.cli.console import print_line


def synthesize(
    family: Positional[Literal["can", "mug", "bowl", "camera", "airplane"]], *, count: int, out: Path, seed: Seed = 0
) -> None:
    """Generate varied, closed meshes of one category.

    Args:
        family: The category to generate.
        count: Number of meshes.
        out: Folder for the meshes, one PLY file each.
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
    up: Up = "auto",
    unit: str = "auto",
    test_share: float = 0.2,
    variants: int = 0,
    min_confidence: float = 0.3,
    workers: Workers = None,
    cluster: Cluster = None,
    timeout: float = 120.0,
    memory: Memory = 8.0,
    seed: Seed = 0,
) -> None:
    """Turn a collection of meshes into a data set: clean them, find their inside, sample and split them.

    Run the same command again to do what is missing: interrupted work, and files that are new or have changed.

    Args:
        meshes: Folder of OBJ, PLY, STL, OFF and GLB files, with its subfolders; or a list of meshes, a ShapeNetCore
            tree, a DeepSDF split, or DeepSDF samples.
        out: Folder for the data set, or a URL such as s3://bucket/folder.
        layout: How the collection is laid out; auto detects it.
        root: Folder that holds the files which a list or a split names.
        category: Take only these categories, given as words (mug) or synsets (03797390).
        samples: Samples of each shape, 500,000 at most. One number is divided as DeepSDF does; or give a count for each
            strategy, such as near=9400,edges=600.
        unit: Length unit of the meshes, which is recorded: m, cm, mm, in, ft, or a number of metres. auto takes what
            the collection or the file format says.
        test_share: Share of the shapes that is kept for evaluation, if the collection states no split.
        variants: Stretched copies to add for each training shape. With 50 to 100 shapes, 7 helped.
        min_confidence: Refuse a shape if the inside tests agree on less than this share of its surface.
        timeout: Seconds that one shape may take.
    """
    from shapeprior.cli.progress import show_progress
    from shapeprior.cli.reports import print_prepared
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
    with show_progress("Preparing", "files") as progress:
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


def inspect(mesh: Positional[Path], *, out: Path | None = None, up: Up = "auto") -> None:
    """Show how preparation sees one mesh: faces, parts, holes, sign confidence, and a picture of its field.

    Args:
        mesh: The mesh file.
        out: The picture to write, a PNG file: the mesh beside three slices of its signed distance, blue inside. By
            default MESH.inspect.png in the current folder.
    """
    from shapeprior.cli.reports import print_figures
    from shapeprior.visualization.inspection import inspect_mesh
    from shapeprior.visualization.pictures import save_picture

    found = inspect_mesh(mesh, up=up)
    print_figures(found.figures)
    print_line(f"picture  {save_picture(out or Path(mesh.stem + '.inspect.png'), found.picture)}")
