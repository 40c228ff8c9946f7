"""Solids with varying cross-sections: lofts, sweeps, solids of revolution, rods, rounded boxes, fuselages, wings.

Frame: the family's own world frame, +y up, in any length unit. Every function returns a closed solid with positive
volume, made with manifold3d. Curves through few control points are monotone cubics (Fritsch and Carlson 1980, SciPy's
PCHIP), which do not overshoot. The section of wings is the thickness distribution of the NACA four-digit series
(Jacobs, Ward and Pinkerton 1933).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

Parts = list[manifold3d.Manifold]
"""Overlapping solids whose union is an object, or a piece of one."""

AIRFOIL_SIDE_POINTS = 8
"""Points on each side of a wing section, behind the leading edge."""
MAX_SMOOTHING_STEPS = 5000
"""Steps in which a path is smoothed until a bar around it does not fold; a bound that no path reaches."""


def loft(rings: Float[np.ndarray, "rings points 3"], *, mirror_symmetric: bool = True) -> manifold3d.Manifold:
    """Return the solid through a stack of closed rings, which all have equally many points; both ends are closed.

    By default the triangulation of mirror symmetric rings is mirror symmetric, too: each quadrangle is split along its
    shorter diagonal, and each end is a fan around its centroid. Otherwise all quadrangles are split alike, and the
    ends, which must be convex, are fans around their first point, without a vertex more.
    """
    count, points = rings.shape[:2]
    around = np.arange(points)
    after = (around + 1) % points
    base = (np.arange(count - 1) * points)[:, None]
    lower, lower_next, upper, upper_next = base + around, base + after, base + points + around, base + points + after
    last = (count - 1) * points
    vertices = rings.reshape(-1, 3)
    if mirror_symmetric:
        first_center, last_center = count * points, count * points + 1
        vertices = np.concatenate([vertices, rings[0].mean(axis=0)[None], rings[-1].mean(axis=0)[None]])
        rising = np.linalg.norm(vertices[lower] - vertices[upper_next], axis=-1)
        falling = np.linalg.norm(vertices[lower_next] - vertices[upper], axis=-1)
        use_falling = falling < (1.0 - 1e-9) * rising
        first_end = np.stack([np.full(points, first_center), after, around], axis=-1)
        last_end = np.stack([np.full(points, last_center), last + around, last + after], axis=-1)
    else:
        use_falling = np.zeros_like(lower, dtype=bool)
        first_end = np.stack([np.zeros(points - 2, dtype=np.int64), around[2:], around[1:-1]], axis=-1)
        last_end = first_end[:, ::-1] + last
    walls = [
        np.stack([lower, lower_next, np.where(use_falling, upper, upper_next)], axis=-1).reshape(-1, 3),
        np.stack([np.where(use_falling, lower_next, lower), upper_next, upper], axis=-1).reshape(-1, 3),
    ]
    triangles = np.concatenate([*walls, first_end, last_end])
    corners = vertices[triangles]
    if np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0:
        triangles = triangles[:, ::-1]
    mesh = manifold3d.Mesh64(
        vert_properties=np.ascontiguousarray(vertices, dtype=np.float64),
        tri_verts=np.ascontiguousarray(triangles, dtype=np.uint64),
    )
    return manifold3d.Manifold(mesh)


def sweep(
    path: Float[np.ndarray, "points 2"],
    *,
    thickness: Float[np.ndarray, "points"],
    width: Float[np.ndarray, "points"],
    exponent: float,
    sides: int = 20,
) -> manifold3d.Manifold:
    """Return a bar of superelliptic cross-section along a path of (x, y).

    Its half axes are `thickness`, in the plane of the path, and `width`, along z. The path is smoothed, with its ends
    held, until the inner side of its bends no longer folds over itself.
    """
    path, normal = smooth_until_unfolded(path, thickness)
    # Half a step off, so that no edge of the bar lies in the plane z = 0, where bodies have edges: unions get slivers.
    angles = np.arange(sides) * (2 * np.pi / sides) + np.pi / sides
    along_normal = signed_power(np.cos(angles), 2 / exponent)
    along_z = signed_power(np.sin(angles), 2 / exponent)
    in_plane = path[:, None] + (thickness[:, None] * along_normal)[:, :, None] * normal[:, None]
    rings = np.concatenate([in_plane, (width[:, None] * along_z)[:, :, None]], axis=2)
    return loft(rings, mirror_symmetric=False)


def smooth_until_unfolded(
    path: Float[np.ndarray, "points 2"], thickness: Float[np.ndarray, "points"]
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, "points 2"]]:
    """Smooth a path until both sides of a bar around it run forward; return the path and its normals.

    The ends of the path are held.
    """
    for _ in range(MAX_SMOOTHING_STEPS):
        tangent = np.gradient(path, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        sides = path + np.array([1.1, -1.1])[:, None, None] * (thickness[:, None] * normal)
        forward = np.einsum("sij,ij->si", np.diff(sides, axis=1), tangent[1:] + tangent[:-1])
        if np.all(forward > 0):
            return path, normal
        path = np.concatenate([path[:1], 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:], path[-1:]])
    raise AssertionError("a smoothed path tends to a straight line, whose sides never fold")


def signed_power(values: Float[np.ndarray, "values"], exponent: float) -> Float[np.ndarray, "values"]:
    """Raise the magnitudes of values to a power and keep their signs.

    Cosines and sines raised to the power 2/n in this way are the coordinates of a superellipse with exponent n.
    """
    return np.sign(values) * np.abs(values) ** exponent


def unite(parts: Sequence[manifold3d.Manifold], *, tolerance: float = 1e-5) -> manifold3d.Manifold:
    """Return the largest connected piece of the union of all parts, without enclosed hollows.

    Vertices closer together than about `tolerance`, a length, are merged, since float32 could not tell them apart.
    """
    whole = manifold3d.Manifold.batch_boolean(list(parts), manifold3d.OpType.Add)
    pieces = whole.decompose()
    largest = pieces[int(np.argmax([piece.volume() for piece in pieces]))] if len(pieces) > 1 else whole
    return largest.set_tolerance(tolerance)


def mirrored_pair(part: manifold3d.Manifold) -> Parts:
    """Return a part and its mirror image in the plane z = 0."""
    return [part, part.mirror((0.0, 0.0, 1.0))]


def revolve(profile: Sequence[tuple[float, float]], *, axis: str, segments: int = 24) -> manifold3d.Manifold:
    """Return a solid of revolution around the axis "x", "y" or "z" through the origin.

    `profile` lists (position along the axis, radius) from one end to the other, and both ends are closed towards the
    axis. A profile that turns back makes a recess.
    """
    closed = [(0.0, profile[0][0])] if profile[0][1] > 0 else []
    closed += [(radius, along) for along, radius in profile]
    closed += [(0.0, profile[-1][0])] if profile[-1][1] > 0 else []
    section = manifold3d.CrossSection([np.asarray(closed, dtype=np.float64)], manifold3d.FillRule.NonZero)
    solid = section.revolve(segments)
    rotation = {"x": (0.0, 90.0, 0.0), "y": (-90.0, 0.0, 0.0), "z": (0.0, 0.0, 0.0)}[axis]
    return solid.rotate(rotation)


def rod(
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    *,
    end_radius: float | None = None,
) -> manifold3d.Manifold:
    """Return a round bar between two points, which tapers to `end_radius` if that is given."""
    origin, vector = np.asarray(start, dtype=np.float64), np.subtract(end, start).astype(np.float64)
    side = np.cross(vector, np.eye(3)[int(np.argmin(np.abs(vector)))])
    side /= np.linalg.norm(side)
    other = np.cross(vector / np.linalg.norm(vector), side)
    angles = 2.0 * np.pi * np.arange(12) / 12
    circle = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other
    far_radius = radius if end_radius is None else end_radius
    return loft(np.stack([origin + radius * circle, origin + vector + far_radius * circle]))


def ellipsoid(
    center: tuple[float, float, float], radii: tuple[float, float, float], *, segments: int = 24
) -> manifold3d.Manifold:
    """Return an ellipsoid with its axes along x, y and z."""
    return manifold3d.Manifold.sphere(1.0, segments).scale(radii).translate(center)


def rounded_rectangle(
    half_width: float, half_height: float, corner: float, *, corner_points: int = 5
) -> Float[np.ndarray, "points 2"]:
    """Return a counter-clockwise outline around the origin with circular corners of radius `corner`."""
    corner = min(corner, 0.999 * half_width, 0.999 * half_height)
    angles = np.linspace(0.0, 0.5 * np.pi, corner_points)
    arcs = []
    for turn, (sign_x, sign_y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        phase = angles + 0.5 * np.pi * turn
        x = sign_x * (half_width - corner) + corner * np.cos(phase)
        arcs.append(np.stack([x, sign_y * (half_height - corner) + corner * np.sin(phase)], axis=1))
    return np.concatenate(arcs)


def rounded_block(
    size: tuple[float, float, float], *, corner: float, edge: float, axis: str = "z", taper: float = 1.0
) -> manifold3d.Manifold:
    """Return a box around the origin with two kinds of rounded edges.

    Edges along `axis` have radius `corner`, those around its two ends have radius `edge`. `size` is the extent along x,
    y, z. `taper` scales the outline at the far end of the axis.
    """
    order = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}[axis]
    half = 0.5 * np.asarray(size)[list(order)]
    edge = float(min(edge, 0.95 * half[2], 0.5 * half[0], 0.5 * half[1]))
    rings = []
    angles = np.linspace(0.0, 0.5 * np.pi, 4)
    inset = np.concatenate([edge * (1 - np.sin(angles)), edge * (1 - np.cos(angles))])
    along = np.concatenate([-half[2] + edge * (1 - np.cos(angles)), half[2] - edge + edge * np.sin(angles)])
    for distance, position in zip(inset, along, strict=True):
        scale = 1.0 + (taper - 1.0) * (position + half[2]) / (2 * half[2])
        radius = max(corner - distance, 0.15 * corner)
        outline = rounded_rectangle(float(half[0] - distance), float(half[1] - distance), float(radius)) * scale
        ring = np.zeros((len(outline), 3))
        ring[:, order[0]], ring[:, order[1]], ring[:, order[2]] = outline[:, 0], outline[:, 1], position
        rings.append(ring)
    return loft(np.stack(rings))


@dataclass(frozen=True, kw_only=True, eq=False)
class Hull:
    """A body along x with superelliptic sections, mirror symmetric in z, such as a fuselage, boom, float or canopy."""

    x: Float[np.ndarray, "stations"]
    """Increasing positions of the control sections, at least two."""
    half_width: Float[np.ndarray, "stations"]
    """Half of each section's extent along z, positive."""
    top: Float[np.ndarray, "stations"]
    """Largest y of each section."""
    bottom: Float[np.ndarray, "stations"]
    """Smallest y of each section, below `top`."""
    exponent: float = 2.0
    """Superellipse exponent of the sections: 2 is an ellipse, 4 nearly a box."""
    round_front: float = 0.01
    """Length over which the front end is rounded off."""
    round_back: float = 0.01
    """Length over which the back end is rounded off."""

    def __post_init__(self) -> None:
        if len(self.x) < 2 or np.any(np.diff(self.x) <= 0):
            raise ValueError(f"a hull needs sections at two or more increasing positions; got {self.x.tolist()}")
        if np.any(self.half_width <= 0) or np.any(self.top <= self.bottom):
            raise ValueError("every section of a hull needs a positive width and height")

    def section_at(self, x: float) -> tuple[float, float, float]:
        """Return (half width, top, bottom) of the section at `x`, before the ends are rounded."""
        where = float(np.clip(x, self.x[0], self.x[-1]))
        half_width, top, bottom = (
            float(PchipInterpolator(self.x, values)(where)) for values in (self.half_width, self.top, self.bottom)
        )
        return half_width, top, bottom

    def solid(self, *, samples: int = 22, points: int = 28) -> manifold3d.Manifold:
        """Return the closed body, with `samples` + 12 sections of `points` points."""
        angles = np.linspace(0.15, 0.5 * np.pi, 6)
        front = self.x[0] + self.round_front * (1 - np.cos(angles))
        back = self.x[-1] - self.round_back * (1 - np.cos(angles[::-1]))
        middle = np.linspace(front[-1], back[0], samples + 2)[1:-1]
        stations = np.concatenate([front, middle, back])
        scale = np.concatenate([np.sin(angles), np.ones(samples), np.sin(angles[::-1])])
        width = PchipInterpolator(self.x, self.half_width)(stations) * scale
        top, bottom = (PchipInterpolator(self.x, values)(stations) for values in (self.top, self.bottom))
        around = 2 * np.pi * np.arange(points) / points
        # Rounded, since cos(90°) is 6e-17, which is far from zero when it is raised to a small power.
        cosine, sine = np.cos(around).round(12), np.sin(around).round(12)
        across = signed_power(cosine, 2 / self.exponent)
        upward = signed_power(sine, 2 / self.exponent)
        rings = np.zeros((len(stations), points, 3))
        rings[:, :, 0] = stations[:, None]
        rings[:, :, 1] = 0.5 * (top + bottom)[:, None] + (0.5 * (top - bottom) * scale)[:, None] * upward
        rings[:, :, 2] = width[:, None] * across
        return loft(rings)


def airfoil_section() -> Float[np.ndarray, "points 2"]:
    """Return the outline (chordwise, thicknesswise) of a symmetric section of unit size with a blunt tail."""
    chordwise = 0.5 * (1 - np.cos(np.pi * np.arange(AIRFOIL_SIDE_POINTS + 1) / AIRFOIL_SIDE_POINTS))
    powers = np.stack([np.sqrt(chordwise), chordwise, chordwise**2, chordwise**3, chordwise**4])
    half = 5.0 * np.array([0.2969, -0.1260, -0.3516, 0.2843, -0.1015]) @ powers
    half = np.sqrt(half**2 + (0.13 * chordwise) ** 2)
    upper = np.stack([chordwise, half], axis=1)
    return np.concatenate([upper[::-1], np.stack([chordwise, -half], axis=1)[1:]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Wing:
    """A lifting surface along z, from its root on; the chord is along x, with the leading edge at the smaller x."""

    z: Float[np.ndarray, "stations"]
    """Increasing spanwise positions of the sections; the first is the root."""
    lead: Float[np.ndarray, "stations"]
    """x of the leading edge of each section."""
    height: Float[np.ndarray, "stations"]
    """y of the chord line of each section."""
    chord: Float[np.ndarray, "stations"]
    """Length along x of each section, positive."""
    thickness: Float[np.ndarray, "stations"]
    """Largest extent along y of each section, positive."""
    tip_round: float = 0.3
    """Spanwise length of the rounded tip, in tip chords."""

    def __post_init__(self) -> None:
        if len(self.z) < 2 or np.any(np.diff(self.z) <= 0):
            raise ValueError(f"a wing needs sections at two or more increasing positions; got {self.z.tolist()}")
        if np.any(self.chord <= 0) or np.any(self.thickness <= 0):
            raise ValueError("every section of a wing needs a positive chord and thickness")

    def section_at(self, z: float) -> tuple[float, float, float, float]:
        """Return (leading-edge x, y, chord, thickness) of the section at the spanwise position `z`."""
        lead, height, chord, thickness = (
            float(np.interp(z, self.z, values)) for values in (self.lead, self.height, self.chord, self.thickness)
        )
        return lead, height, chord, thickness

    def rings(self) -> Float[np.ndarray, "rings points 3"]:
        """Return the outlines of the sections from root to tip, with a rounded tip."""
        # Columns: z, leading-edge x, y, chord, thickness.
        rows = np.stack([self.z, self.lead, self.height, self.chord, self.thickness], axis=1)
        slope = (rows[-1] - rows[-2]) / (rows[-1, 0] - rows[-2, 0])
        reach = self.tip_round * rows[-1, 3]
        cap = []
        for angle in np.radians([35.0, 62.0, 80.0]) if reach > 0 else []:
            row = rows[-1] + slope * reach * np.sin(angle)
            row[3], row[4] = rows[-1, 3] * np.cos(angle) ** 0.8, rows[-1, 4] * np.cos(angle) ** 0.5
            row[1] = rows[-1, 1] + slope[1] * reach * np.sin(angle) + 0.45 * (rows[-1, 3] - row[3])
            cap.append(row)
        rows = np.concatenate([rows, np.stack(cap)]) if cap else rows
        outline = airfoil_section()
        rings = np.zeros((len(rows), len(outline), 3))
        rings[:, :, 0] = rows[:, 1, None] + rows[:, 3, None] * outline[:, 0]
        rings[:, :, 1] = rows[:, 2, None] + rows[:, 4, None] * outline[:, 1]
        rings[:, :, 2] = rows[:, 0, None]
        return rings

    def pair(self) -> manifold3d.Manifold:
        """Return the wing and its mirror image in z = 0 as one solid; the root must lie at z = 0."""
        rings = self.rings()
        return loft(np.concatenate([rings[:0:-1] * np.array([1.0, 1.0, -1.0]), rings]))

    def single(self, *, roll: float = 0.0, move: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> manifold3d.Manifold:
        """Return the wing rotated about x by `roll` degrees, where 90 makes its span point up, and then moved."""
        return loft(self.rings()).rotate((-roll, 0.0, 0.0)).translate(move)
