"""The commands on the latent space of a prior: codes of meshes, nearest training shapes, interpolation and new
shapes."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from shapeprior.cli.arguments import (
    CameraPoseFile,
    Device,
    IntrinsicsFile,
    MaskFile,
    ObjectPoseFile,
    PriorName,
    Resolution,
    Seed,
    SensorPosition,
    Up,
)
from shapeprior.cli.console import print_line, print_table
from shapeprior.errors import ConfigError


def encode(
    prior: Positional[PriorName],
    mesh: Positional[Path],
    *,
    out: Path,
    mesh_out: Annotated[Path | None, arg(name="mesh")] = None,
    refine: bool = False,
    up: Up = "auto",
    steps: int | None = None,
    resolution: Resolution = 256,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Find the latent code of a whole mesh.

    Args:
        mesh: The mesh file. It is cleaned and sampled as for training, and refused for the same reasons.
        out: The code to write, an NPZ file with code, T_unit_world (4 x 4, unit frame from the mesh's frame) and error.
        mesh_out: Also write the mesh that the code decodes to, in the frame and unit of the file.
        refine: Fit the written mesh to the file more closely than any code can. The code stays as it is.
        steps: Steps of the fit; 200 by default.
    """
    from shapeprior.completion.encoding import EncodeConfig, RefineConfig
    from shapeprior.completion.registry import load
    from shapeprior.geometry.mesh import TriangleMesh
    from shapeprior.io.meshes import save_mesh

    if refine and mesh_out is None:
        raise ConfigError("--refine without --mesh; expected a mesh to write: the code stays as it is; add --mesh FILE")
    loaded = load(prior, device=device)
    config = EncodeConfig() if steps is None else EncodeConfig(steps=steps)
    wanted = RefineConfig() if refine else None
    encoded = loaded.encode(mesh, up=up, seed=seed, config=config, refine=wanted)
    near = loaded.nearest(encoded.code, count=1)[0]
    encoded.save(out)
    print_line(
        f"{out}: mean error of the field {encoded.error:.4f} radii; nearest code {near.id} at {near.distance:.1f}"
    )
    if mesh_out is not None:
        if encoded.refined is not None:
            decoded = loaded.extract_prepared(encoded.refined, resolution=resolution)
        else:
            decoded = loaded.extract(encoded.code, resolution=resolution)
        T_world_unit = encoded.T_unit_world.inverse()
        save_mesh(mesh_out, TriangleMesh(vertices=T_world_unit.apply(decoded.vertices), faces=decoded.faces))
        print_line(f"mesh     {mesh_out}")


def nearest(
    prior: Positional[PriorName],
    shape: Positional[str],
    *,
    count: int = 5,
    data: str | None = None,
    intrinsics: IntrinsicsFile = None,
    mask: MaskFile = None,
    camera_pose: CameraPoseFile = None,
    sensor: SensorPosition = None,
    pose: ObjectPoseFile = None,
    up: Up = "auto",
    seed: Seed = 0,
) -> None:
    """List the training shapes that are most like a shape, by their latent codes.

    Args:
        shape: A mesh, a scan (as for `complete`), a code that `encode` wrote, or the id of a training shape.
        count: How many shapes to list.
        data: The data set that the prior was trained on. With it, the distance between the surfaces is listed, too.
    """
    from shapeprior.cli.latent_shapes import find_code, surface_distances
    from shapeprior.completion.registry import load
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.scans.folder import ViewFiles, read_placed_scan

    loaded = load(prior)
    query = find_code(
        loaded,
        shape,
        up=up,
        seed=seed,
        read_view=lambda path: read_placed_scan(
            [ViewFiles(scan=path, intrinsics=intrinsics, mask=mask, camera_pose=camera_pose)], sensor=sensor, pose=pose
        ),
    )
    found = loaded.nearest(query.code, count=count)
    columns, rows = ["shape", "code"], [[near.id, f"{near.distance:.2f}"] for near in found]
    if data is not None:
        mesh_unit = query.mesh_unit or loaded.extract(query.code)
        distances = surface_distances(mesh_unit, Dataset.open(data), [near.id for near in found], seed=seed)
        columns.append("chamfer_l1")
        rows = [[*row, f"{distance:.4f}"] for row, distance in zip(rows, distances, strict=True)]
    print_table(columns, rows, right=columns[1:])
    print_line("  code: distance in standard deviations of the training codes")
    if data is not None:
        print_line(
            "  chamfer_l1: ½ (mean d(P→T) + mean d(T→P)) of the mesh (or of what the code decodes to) P and the stored "
            "mesh T, in unit-sphere radii"
        )


def interpolate(
    prior: Positional[PriorName],
    first: Positional[str],
    last: Positional[str],
    *,
    out: Path,
    steps: int = 7,
    path: Literal["straight", "spherical"] = "straight",
    up: Up = "auto",
    resolution: Resolution = 128,
    seed: Seed = 0,
) -> None:
    """Write the shapes between two shapes, in the unit frame, and a picture of all of them.

    Args:
        first: Where to start: the id of a training shape, a mesh file, or a code that `encode` wrote.
        last: Where to end: the same choice.
        out: Folder for the meshes and the picture.
        steps: Number of shapes to write, both ends included.
        path: The path between the codes: straight, or around the mean code at a constant distance from it.
    """
    from shapeprior.cli.latent_shapes import find_code, write_shapes
    from shapeprior.completion.registry import load

    loaded = load(prior)
    ends = [find_code(loaded, source, up=up, seed=seed).code for source in (first, last)]
    codes = loaded.interpolate(ends[0], ends[1], steps=steps, path=path)
    shares = [f"{number / (steps - 1):.2f}" for number in range(steps)]
    titles = [Path(first).name, *shares[1:-1], Path(last).name]
    written = write_shapes(loaded, codes, out, name="between", titles=titles, columns=steps, resolution=resolution)
    print_line(f"{steps} meshes in {out}, from {first} to {last}")
    print_line(f"picture  {written.picture_path}")


def sample(
    prior: Positional[PriorName],
    *,
    out: Path,
    count: int = 8,
    resolution: Resolution = 128,
    seed: Seed = 0,
) -> None:
    """Draw new shapes between the training shapes; write them, in the unit frame, and a picture of all of them.

    Args:
        out: Folder for the meshes and the picture.
        count: Number of shapes.
    """
    from shapeprior.cli.latent_shapes import write_shapes
    from shapeprior.completion.registry import load

    loaded = load(prior)
    codes = loaded.sample(count, seed=seed)
    near = [loaded.nearest(code, count=1)[0] for code in codes]
    titles = [f"{number}" for number in range(count)]
    written = write_shapes(loaded, codes, out, name="sample", titles=titles, columns=4, resolution=resolution)
    print_line(f"{count} meshes in {out}, each between two training shapes of similar codes")
    rows = [
        (path.name, str(int(mesh.part_labels.max()) + 1), shape.id, f"{shape.distance:.1f}")
        for path, mesh, shape in zip(written.mesh_paths, written.meshes, near, strict=True)
    ]
    print_table(("mesh", "parts", "nearest code", "distance"), rows, right=("parts", "distance"))
    print_line(f"picture  {written.picture_path}")
