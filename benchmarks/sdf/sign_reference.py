"""A slow, plain reference for what is inside a mesh, to judge faster signs by.

    python -m benchmarks.sdf.sign_reference MESHES --slices OUT.png --count 10

This draws the decisions on a plane through the middle of `count` of the meshes below MESHES, for checking by eye:
inside is orange, outside blue, contested points hatched, and the surface black.

Everything is in the unit frame: the mesh lies in a sphere of radius 1/1.03. The code shares nothing with
`shapeprior.sdf.inside_test` and `shapeprior.sdf.signed_distance`. It measures two things at a point p:

  S(p)  The share of 2,048 outside cameras, orthographic and evenly spread over the sphere, that see p: no face of the
        file (uncleaned, both sides of a face block) lies between. Rays are cast by Embree, through
        `shapeprior.geometry.raycasting.RayScene`.
  W(p)  The generalised winding number (Jacobson et al. 2013): the exact sum of the solid angles of the cleaned,
        oriented faces, over 4 pi. It uses no tree and no approximation.

On a closed mesh, where every edge has two faces that run along it in opposite directions, p is inside iff W > 1/2.

An open mesh is decided by pockets of free space, because a hollow is inside or outside as a whole:

  Pockets  The voxels of a dense 96^3 grid over [-1.1, 1.1]^3 whose centre is farther than rho = 0.0625 from the
           surface. A ball of that radius fits there, so that narrower passages count as cracks. The pockets are the
           voxels' 6-connected components. The pocket with the corner of the box is the outside world, and outside.
  Votes    Every other pocket votes as one, over 512 of its voxels (all, if it has fewer). The first rule decides:
             mean S > 0.12                          outside: it is in plain view
             mean W > 1/2                           inside: the surface wraps around it
             max S = 0                              inside: no camera sees any of it; hidden voids belong to the object
             mean S <= 0.02 and mean W > 1/4        inside: hidden but for cracks, and somewhat wrapped
             otherwise                              outside
  Points   A point belongs to a pocket that it can walk to. While no voxel of a pocket lies in the ball around the point
           that just touches the surface, the point steps away from its nearest surface point by its own distance. It
           gives up after 8 steps. Each step stays in such a ball, so no walk passes through the surface. Points that
           reach no pocket (in thin walls, in slots) are decided alone, by the same rules on their own S and W.

A decision is *contested* where sight and winding disagree, for the pocket or the lone point: the winding says inside
(W > 1/2) and cameras look in (0.005 < S <= 0.12), or the place is hidden (S <= 0.02) and hardly wrapped (W < 1/4). In
the outside world, a point is contested if W > 1/2 and S <= 0.12 at the point itself: a hollow with one wide opening.
Another reference could decide otherwise there; tables state how many such points there are.

The pieces were checked in three ways. `solid_angle_winding` below is a second winding number, which is compared with
libigl's on every mesh whose slice is drawn. `--check` compares the decisions with spheres, cups and shells whose inside
is known. The rest was checked by eye, on the slices.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from scipy import ndimage
from scipy.spatial import KDTree

from benchmarks.sdf import sign_slices
from shapeprior.errors import MeshError
from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.sampling import fibonacci_directions
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.meshes import MESH_SUFFIXES, load_mesh

NUM_CAMERAS = 2048
"""Outside cameras that look at each point."""
GRID_VOXELS = 96
"""Voxels of the grid along each axis."""
HALF_BOX = 1.1
"""Half the side of the grid's box, in unit-sphere radii."""
MIN_CLEARANCE = 0.0625
"""Radius of the ball that must fit into a pocket, rho above, in unit-sphere radii."""
MAX_VOTERS = 512
"""Voxels of a pocket, at most, that vote for it."""
MAX_STEPS = 8
"""Steps of a point's walk to a pocket, at most."""
PLAIN_VIEW, GLIMPSE, CRACK = 0.12, 0.005, 0.02
"""Limits on S above."""
WRAPPED, SOMEWHAT_WRAPPED = 0.5, 0.25
"""Limits on W above."""


def reference_inside(
    mesh_clean_unit: TriangleMesh, raw_faces_mesh_unit: TriangleMesh, points: Float[np.ndarray, "points 3"]
) -> tuple[Bool[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
    """Return whether each point is inside, and whether that is contested; see the top of this file."""
    return SignReference(mesh_clean_unit, raw_faces_mesh_unit)(points)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The evidence for one pocket, or for one point alone, in each row."""

    mean_seen: Float[np.ndarray, "rows"]
    max_seen: Float[np.ndarray, "rows"]
    winding: Float[np.ndarray, "rows"]

    def inside(self) -> Bool[np.ndarray, "rows"]:
        """Return what the rules decide."""
        hidden = (self.max_seen == 0.0) | ((self.mean_seen <= CRACK) & (self.winding > SOMEWHAT_WRAPPED))
        return (self.mean_seen <= PLAIN_VIEW) & ((self.winding > WRAPPED) | hidden)

    def contested(self) -> Bool[np.ndarray, "rows"]:
        """Tell where sight and winding disagree."""
        looked_into = (self.winding > WRAPPED) & (self.mean_seen > GLIMPSE) & (self.mean_seen <= PLAIN_VIEW)
        return looked_into | ((self.mean_seen <= CRACK) & (self.winding < SOMEWHAT_WRAPPED))


class SignReference:
    """The reference for one mesh, for many points; finding the pockets takes seconds to a minute."""

    def __init__(self, mesh_clean_unit: TriangleMesh, raw_faces_mesh_unit: TriangleMesh) -> None:
        self.mesh = mesh_clean_unit
        self._tree = igl.AABB()
        self._tree.init(mesh_clean_unit.vertices, mesh_clean_unit.faces)
        self.is_closed = is_closed(mesh_clean_unit)
        if self.is_closed:
            return
        self._scene = RayScene(raw_faces_mesh_unit)
        self._directions = fibonacci_directions(NUM_CAMERAS)
        self._find_pockets()

    def __call__(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Bool[np.ndarray, "points"], Bool[np.ndarray, "points"]]:
        """Return whether each point is inside, and whether that is contested."""
        points = np.ascontiguousarray(points, dtype=np.float64)
        if self.is_closed:
            return self.winding(points) > WRAPPED, np.zeros(len(points), dtype=bool)
        pocket = self.walk_to_pocket(points)
        inside, contested = self.pocket_inside[pocket], self.pocket_contested[pocket]  # Row -1 is overwritten below.
        alone = np.flatnonzero(pocket < 0)
        evidence = self.evidence(points[alone])
        inside[alone], contested[alone] = evidence.inside(), evidence.contested()
        world = np.flatnonzero(pocket == 0)
        wrapped = world[self.winding(points[world]) > WRAPPED]
        contested[wrapped] = self.seen_share(points[wrapped]) <= PLAIN_VIEW
        return inside, contested

    def winding(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return W(p)."""
        return np.asarray(igl.winding_number(self.mesh.vertices, self.mesh.faces, points)).reshape(-1)

    def seen_share(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
        """Return S(p)."""
        seen = np.zeros(len(points))
        for start in range(0, len(points), 256):
            batch = points[start : start + 256]
            origins = np.repeat(batch, NUM_CAMERAS, axis=0)
            blocked = self._scene.occluded(origins, np.tile(self._directions, (len(batch), 1)))
            seen[start : start + 256] = 1.0 - blocked.reshape(len(batch), NUM_CAMERAS).mean(axis=1)
        return seen

    def evidence(self, points: Float[np.ndarray, "points 3"]) -> _Evidence:
        """Return the evidence for points alone."""
        seen = self.seen_share(points)
        return _Evidence(seen, seen, self.winding(points))

    def nearest(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points 3"]]:
        """Return the exact distance to the surface, and the nearest point on it."""
        squared, _, foot = self._tree.squared_distance(self.mesh.vertices, self.mesh.faces, points)
        return np.sqrt(np.asarray(squared).reshape(-1)), np.asarray(foot).reshape(-1, 3)

    def walk_to_pocket(self, points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points"]:
        """Return the pocket that each point belongs to: 0 for the outside world, -1 for none."""
        pocket = np.full(len(points), -1, dtype=np.int64)
        position, left = points.copy(), np.arange(len(points))
        for _ in range(MAX_STEPS + 1):
            distance, foot = self.nearest(position)
            gap, voxel = self._voxels.query(position)
            arrived = gap < distance
            pocket[left[arrived]] = self._voxel_pocket[np.asarray(voxel)[arrived]]
            position = (2.0 * position - foot)[~arrived]
            left = left[~arrived]
            if len(left) == 0:
                break
        return pocket

    def _find_pockets(self) -> None:
        axis = ((np.arange(GRID_VOXELS) + 0.5) / GRID_VOXELS * 2.0 - 1.0) * HALF_BOX
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        distance, _ = self.nearest(grid.reshape(-1, 3))
        labels = np.zeros(grid.shape[:3], dtype=np.int64)
        count = int(ndimage.label(distance.reshape(labels.shape) > MIN_CLEARANCE, output=labels))  # pyright: ignore[reportArgumentType]
        assert labels[0, 0, 0] == 1  # The corner is far from the mesh, and the first component holds it.
        free = labels > 0
        voxels, self._voxel_pocket = grid[free], labels[free] - 1
        self._voxels = KDTree(voxels)
        self.evidence_of_pockets = _Evidence(*np.zeros((3, count)))
        rng = np.random.default_rng(0)
        for pocket in range(1, count):
            members = np.flatnonzero(self._voxel_pocket == pocket)
            own = self.evidence(voxels[rng.permutation(members)[:MAX_VOTERS]])
            self.evidence_of_pockets.mean_seen[pocket] = own.mean_seen.mean()
            self.evidence_of_pockets.max_seen[pocket] = own.mean_seen.max()
            self.evidence_of_pockets.winding[pocket] = own.winding.mean()
        self.pocket_inside = self.evidence_of_pockets.inside()
        self.pocket_contested = self.evidence_of_pockets.contested()
        self.pocket_inside[0] = self.pocket_contested[0] = False
        self.pocket_voxels = np.bincount(self._voxel_pocket, minlength=count)


def is_closed(mesh: TriangleMesh) -> bool:
    """Tell whether every edge has two faces, which run along it in opposite directions."""
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges, counts = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    return len(np.unique(directed, axis=0)) == len(directed) == 2 * len(edges) and bool(counts.max() == 2)


def solid_angle_winding(mesh: TriangleMesh, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """Return W(p), computed in a second way (van Oosterom and Strackee 1983, "The solid angle of a plane triangle",
    equation 8)."""
    total = np.zeros(len(points))
    for row, point in enumerate(points):
        a, b, c = np.moveaxis(mesh.corners - point, 1, 0)
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        numerator = np.einsum("fi,fi->f", a, np.cross(b, c))
        ab, bc, ca = (np.einsum("fi,fi->f", *pair) for pair in ((a, b), (b, c), (c, a)))
        total[row] = 2.0 * np.arctan2(numerator, la * lb * lc + ab * lc + bc * la + ca * lb).sum()
    return total / (4.0 * np.pi)


def load_pair(path: Path) -> tuple[TriangleMesh, TriangleMesh]:
    """Load a file's cleaned mesh and its raw faces, both in the unit frame of the cleaned one; raises MeshError."""
    raw = load_mesh(path)
    clean, _ = clean_mesh(raw, name=str(path))
    T_unit_world = Similarity.to_unit_sphere(clean.vertices)
    clean, raw = (TriangleMesh(T_unit_world.apply(mesh.vertices), mesh.faces) for mesh in (clean, raw))
    return clean, raw


def find_files(folder: Path) -> list[Path]:
    """List the mesh files below a folder, without those that are malformed on purpose."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    return [path for path in found if "malformed" not in path.parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path, nargs="*", help="folders, or files")
    parser.add_argument("--slices", type=Path, default=None, help="PNG file to write")
    parser.add_argument("--count", type=int, default=10, help="how many meshes, evenly over the sorted files")
    parser.add_argument("--plane", choices=("x", "y", "z"), default="z", help="axis that the slices are across")
    parser.add_argument("--check", action="store_true", help="compare with shapes whose inside is known")
    arguments = parser.parse_args()
    if arguments.check:
        check_known_shapes()
    files = [file for path in arguments.meshes for file in ([path] if path.is_file() else find_files(path))]
    if files and arguments.slices:
        tiles: list[tuple[str, Image.Image]] = []
        for i in np.linspace(0, len(files) - 1, min(arguments.count, len(files))).round().astype(int):
            try:
                picture, summary = _slice(files[i], sign_slices.plane_points("xyz".index(arguments.plane)))
                tiles.append((f"{files[i].parent.name}/{files[i].stem}", picture))
            except MeshError as error:
                summary = f"refused: {error}"
            print(f"{files[i]}: {summary}", flush=True)
        sign_slices.contact_sheet(tiles).save(arguments.slices)


def _slice(path: Path, points: Float[np.ndarray, "pixels 3"]) -> tuple[Image.Image, str]:
    """Draw the slice of a file; returns the picture, and a line on the mesh, its pockets and its winding numbers."""
    start = perf_counter()
    clean, raw = load_pair(path)
    reference = SignReference(clean, raw)
    inside, contested = reference(points)
    some = points[np.linspace(0, len(points) - 1, 100).astype(int)]
    off = float(np.abs(reference.winding(some) - solid_angle_winding(clean, some)).max())
    kind = "closed" if reference.is_closed else f"open, {len(reference.pocket_inside)} pockets"
    summary = f"{kind}, {len(clean.faces)} faces, inside {inside.mean():.1%}, contested {contested.mean():.1%}"
    picture = sign_slices.tile(inside, contested, reference.nearest(points)[0])
    return picture, f"{summary}, two windings differ by {off:.1e}, {perf_counter() - start:.1f} s"


def check_known_shapes() -> None:
    """Print the errors of the reference on shapes whose inside is a formula; each line should read 0 wrong."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.95)
    vertices, faces = np.asarray(ball.vertices, dtype=np.float64), np.asarray(ball.faces, dtype=np.int64)
    height = vertices[faces].mean(axis=1)[:, 1]
    odd = np.arange(len(faces))[:, None] % 2 == 1
    shells = np.concatenate([vertices, 0.6 * vertices]), np.concatenate([faces, faces + len(vertices)])
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (4000, 3))
    radius = np.linalg.norm(points, axis=1)
    for name, corners, rows, solid in (
        ("closed ball", vertices, faces, True),
        ("ball without one face", vertices, faces[1:], True),
        ("the same, every other face turned", vertices, np.where(odd, faces, faces[:, ::-1])[1:], True),
        ("ball with a hole wider than rho", vertices, faces[height < 0.93], False),
        ("half a ball, a bowl of one sheet", vertices, faces[height < 0.0], False),
        ("a ball in a ball", *shells, True),
        ("a ball in a ball without one face", shells[0], shells[1][1:], True),
    ):
        raw = TriangleMesh(corners, rows)
        inside, contested = reference_inside(clean_mesh(raw, name=name)[0], raw, points)
        clear = np.abs(radius - 0.95) > 0.01
        wrong = int(np.count_nonzero((inside != (solid & (radius < 0.95)))[clear]))
        print(f"{name}: {wrong} of {clear.sum()} wrong, {contested.mean():.1%} contested", flush=True)


if __name__ == "__main__":
    main()
