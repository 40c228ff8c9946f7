"""Commands that use a trained prior: codes of meshes, nearest shapes, shapes between shapes, new shapes.

As in `shapeprior.cli.main`, nothing heavy is imported until a command runs.
"""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from shapeprior.cli.arguments import Device, Seed, Up
from shapeprior.cli.console import print_line
from shapeprior.errors import ConfigError


def encode(
    prior: Positional[str],
    mesh: Positional[Path],
    *,
    out: Path,
    mesh_out: Annotated[Path | None, arg(name="mesh")] = None,
    refine: bool = False,
    up: Up = "auto",
    steps: int | None = None,
    resolution: int = 256,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Find the code of a full mesh.

    Args:
        prior: A run folder, a bundled prior, or the id owner/name of a downloaded one.
        mesh: The mesh file; it is cleaned and sampled as for training, and refused for the same reasons.
        out: The code, an NPZ file: code, T_unit_world (4 x 4, from the mesh's frame to the unit frame) and error.
        mesh_out: Also write the mesh that the code decodes to, in the file's own frame and unit.
        refine: Fit that mesh to the file beyond what the code can say; the code stays as it is.
        up: The axis that points up; auto takes what the file format says, or else y.
        steps: Steps of the fit, 200 if not given.
        resolution: Cells along each axis of the unit cube.
    """
    from shapeprior.completion.encoding import EncodeConfig
    from shapeprior.completion.refinement import RefineConfig
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
    prior: Positional[str],
    shape: Positional[str],
    *,
    count: int = 5,
    data: str | None = None,
    intrinsics: Path | None = None,
    mask: Path | None = None,
    camera_pose: Path | None = None,
    sensor: tuple[float, float, float] | None = None,
    pose: Path | None = None,
    up: Up = "auto",
    seed: Seed = 0,
) -> None:
    """Show which training shapes are nearest, by their codes.

    Args:
        prior: A run folder, a bundled prior, or the id owner/name of a downloaded one.
        shape: A mesh, a scan (as for `complete`), a code that `encode` wrote, or the id of a training shape.
        count: How many to show.
        data: The data set that the prior was trained on; its meshes then give the distance of the surfaces, too.
        intrinsics: JSON with the camera's focal lengths and centre, for a depth image.
        mask: Image that is nonzero where the depth image shows the object.
        camera_pose: JSON with the camera's pose, world from camera frame.
        sensor: Where the sensor stood, in the frame of the point cloud.
        pose: JSON with the object's placement in a scan, scan from unit frame.
        up: The axis that points up in a mesh; auto takes what the file format says, or else y.
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
    width = max(len(near.id) for near in found)
    chamfer = None
    if data is not None:
        ids = [near.id for near in found]
        mesh_unit = query.mesh_unit or loaded.extract(query.code)
        chamfer = surface_distances(mesh_unit, Dataset.open(data), ids, seed=seed)
    print_line(f"  {'shape':{width}s}{'code':>9s}" + ("" if chamfer is None else f"{'chamfer_l1':>12s}"))
    for row, near in enumerate(found):
        print_line(f"  {near.id:{width}s}{near.distance:9.2f}" + ("" if chamfer is None else f"{chamfer[row]:12.4f}"))
    print_line("  code: distance in standard deviations of the training codes")
    if chamfer is not None:
        print_line(
            "  chamfer_l1: ½ (mean d(P→T) + mean d(T→P)) of the mesh (or of what the code decodes to) P and the stored mesh T, "
            "in unit-sphere radii"
        )


def interpolate(
    prior: Positional[str],
    first: Positional[str],
    last: Positional[str],
    *,
    out: Path,
    steps: int = 7,
    path: Literal["straight", "spherical"] = "straight",
    up: Up = "auto",
    resolution: int = 128,
    seed: Seed = 0,
) -> None:
    """Write the shapes between two shapes, in the unit frame, and a picture of all of them.

    Args:
        prior: A run folder, a bundled prior (can, mug, bowl, camera, airplane), or the id owner/name of a downloaded one.
        first: Where to start: the id of a training shape, a mesh file, or a code that `encode` wrote.
        last: Where to end, likewise.
        out: Folder for the meshes and the picture.
        steps: Shapes to write, both ends included.
        path: The way through the space of codes: straight, or around its middle at a constant distance.
        up: The axis that points up in mesh files; auto takes what the file format says, or else y.
        resolution: Cells along each axis of the unit cube.
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
    prior: Positional[str],
    *,
    out: Path,
    count: int = 8,
    temperature: float = 1.0,
    resolution: int = 128,
    seed: Seed = 0,
) -> None:
    """Write new shapes, drawn from the density of the training codes, in the unit frame, and a picture of all of them.

    Args:
        prior: A run folder, a bundled prior, or the id owner/name of a downloaded one.
        out: Folder for the meshes and the picture.
        count: How many shapes.
        temperature: 1 draws from the density; less draws more usual shapes, more stranger ones.
        resolution: Cells along each axis of the unit cube.
    """
    from shapeprior.cli.latent_shapes import write_shapes
    from shapeprior.completion.registry import load

    loaded = load(prior)
    codes = loaded.sample(count, temperature=temperature, seed=seed)
    near = [loaded.nearest(code, count=1)[0] for code in codes]
    titles = [f"{number}" for number in range(count)]
    written = write_shapes(loaded, codes, out, name="sample", titles=titles, columns=4, resolution=resolution)
    print_line(f"{count} meshes in {out}; the mixture has {len(loaded.mixture.weights)} components")
    for path, mesh, shape in zip(written.mesh_paths, written.meshes, near, strict=True):
        parts = int(mesh.part_labels.max()) + 1
        print_line(
            f"  {path.name}  {parts} {'part' if parts == 1 else 'parts'}, nearest code {shape.id} at {shape.distance:.1f}"
        )
    print_line(f"picture  {written.picture_path}")
