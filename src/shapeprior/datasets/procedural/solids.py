"""Vessels and other round bodies, drawn as sections and turned on a lathe, with manifold3d.

Frame: the family's own world frame, +y up. A body is drawn as a *section* in the half plane (radius, height). The
section is mirrored at the axis, so that rounding its corners leaves the axis alone. `lathe` turns it into a solid. The
`Plan` says what the body looks like from above: a circle, a polygon, a rounded rectangle.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from manifold3d import CrossSection, JoinType, Manifold

from shapeprior.geometry.mesh import TriangleMesh

_PLANE_EXTENT = 50.0
"""Half the side of a square that stands for the whole plane, since bodies are only a few units large."""


def to_mesh(solid: Manifold) -> TriangleMesh:
    """Return the surface of a solid as a closed mesh with outward faces, in the solid's frame and unit."""
    surface = solid.to_mesh64()
    vertices = np.asarray(surface.vert_properties, dtype=np.float64)[:, :3]
    replacement = np.arange(len(vertices))
    replacement[np.asarray(surface.merge_from_vert, dtype=np.int64)] = np.asarray(surface.merge_to_vert, dtype=np.int64)
    faces = replacement[np.asarray(surface.tri_verts, dtype=np.int64)]
    used, index = np.unique(faces, return_inverse=True)
    return TriangleMesh(vertices=vertices[used], faces=index.reshape(-1, 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A body's outline seen from above, for every radius of its section.

    Radius t becomes the outline ``core * min(t / core_radius, 1) + spread * max(t - core_radius, 0)``. Beyond the core
    the outline grows by the same distance everywhere, so that a wall keeps its thickness. Inside it shrinks towards the
    axis.
    """

    core: Float[np.ndarray, "segments 2"]
    """Outline at t = core_radius, counter-clockwise around the axis; zeros if core_radius is 0."""
    spread: Float[np.ndarray, "segments 2"]
    """How the outline moves for each unit of t beyond core_radius."""
    core_radius: float = 0.0
    """Radius of the core, in section units; 0 makes all outlines scaled copies of `spread`."""

    def outline(self, radius: float) -> Float[np.ndarray, "segments 2"]:
        """Return the outline at one radius of the section."""
        inner = min(radius / self.core_radius, 1.0) if self.core_radius > 0 else 0.0
        return self.core * inner + self.spread * max(radius - self.core_radius, 0.0)

    def reach(self, radius: float) -> float:
        """Return the x at which the outline of a radius crosses the positive x axis."""
        start = self.outline(radius)
        end = np.roll(start, -1, axis=0)
        crossing = np.flatnonzero((start[:, 1] <= 0) & (end[:, 1] > 0))
        a, b = start[crossing[0]], end[crossing[0]]
        return float(a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1]))


def _angles(segments: int) -> Float[np.ndarray, "segments"]:
    return np.arange(segments) * (2 * np.pi / segments)


def polar_plan(radius: Float[np.ndarray, "segments"], *, turn: float = 0.0, aspect: float = 1.0) -> Plan:
    """Return outlines that are scaled copies of radius(angle), turned by `turn` radians, with z scaled by `aspect`."""
    angles = _angles(len(radius)) + turn
    spread = radius[:, None] * np.stack([np.cos(angles), aspect * np.sin(angles)], axis=1)
    return Plan(core=np.zeros_like(spread), spread=spread)


def round_plan(segments: int) -> Plan:
    """Return circles."""
    return polar_plan(np.ones(segments))


def polygon_plan(sides: int, *, roundness: float = 0.0, flat_front: bool = True) -> Plan:
    """Return regular polygons of apothem t with a side, or else a corner, towards +x.

    `roundness` blends them with circles, which they are for 1.
    """
    per_side = 1 if roundness == 0 else max(2, 2 * round(36 / sides))
    angles = _angles(sides * per_side)
    from_corner = np.mod(angles, 2 * np.pi / sides) - np.pi / sides
    radius = (1 - roundness) / np.cos(from_corner) + roundness
    return polar_plan(radius, turn=np.pi / sides if flat_front else 0.0)


def rectangle_plan(half_width: float, *, corner: float, segments: int = 64) -> Plan:
    """Return rounded rectangles: at t = 1 half their extent is 1 along x and `half_width` along z.

    `corner` is the radius of the corners at t = 1, smaller than `half_width`.
    """
    per_corner = segments // 4
    quarter = np.linspace(0, np.pi / 2, per_corner)
    normals = np.concatenate(
        [np.stack([np.cos(quarter + k), np.sin(quarter + k)], 1) for k in np.arange(4) * np.pi / 2]
    )
    centers = np.repeat(np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]), per_corner, axis=0)
    centers = centers * np.array([1 - corner, half_width - corner])
    core_radius = 1 - 0.9 * corner
    return Plan(core=centers + 0.1 * corner * normals, spread=normals, core_radius=core_radius)


def section(path: Float[np.ndarray, "points 2"]) -> CrossSection:
    """Return the region between the axis and a rising path of (radius, height), mirrored at the axis."""
    left = path[::-1] * np.array([-1.0, 1.0])
    return CrossSection([np.concatenate([path, left])])


def box(low: tuple[float, float], high: tuple[float, float]) -> CrossSection:
    """Return the rectangle between two corners (radius, height), and its mirror image."""
    (r0, h0), (r1, h1) = low, high
    right = CrossSection.square((r1 - r0, h1 - h0)).translate((r0, h0))
    return right + right.mirror((1.0, 0.0))


def ellipse(center: tuple[float, float], axes: tuple[float, float]) -> CrossSection:
    """Return an ellipse at (radius, height) with half axes along both, and its mirror image."""
    right = CrossSection.circle(1.0, 24).scale(axes).translate(center)
    return right + right.mirror((1.0, 0.0))


def round_corners(region: CrossSection, *, convex: float = 0.0, concave: float = 0.0) -> CrossSection:
    """Round the corners of a region by morphological closing, then opening, with disks of the given radii."""
    if concave > 0:
        region = region.offset(concave, JoinType.Round, 2.0, 32).offset(-concave, JoinType.Round, 2.0, 32)
    if convex > 0:
        region = region.offset(-convex, JoinType.Round, 2.0, 32).offset(convex, JoinType.Round, 2.0, 32)
    return region


def largest_piece(region: CrossSection) -> CrossSection:
    """Return the connected piece of the largest area."""
    return max(region.decompose(), key=CrossSection.area, default=region)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shell:
    """The two sections of a vessel, in (radius, height)."""

    wall: CrossSection
    """The material."""
    cavity: CrossSection
    """The room inside the wall, open upwards beyond the rim."""


def shell(path: Float[np.ndarray, "points 2"], *, wall: float, floor: float, level: float, fillet: float) -> Shell:
    """Hollow out the body under a path of (radius, height) from the foot to the rim.

    `wall` and `floor` are thicknesses, and `fillet` is the radius of the cavity's bottom corner. `level` sets how the
    rim is cut: 0 perpendicular to the path, 1 horizontally.
    """
    rim = path[-1]
    tangent = (rim - path[-2]) / np.linalg.norm(rim - path[-2])
    beyond = rim + np.array([[2.0, 2.0]]) * wall * tangent
    upward = beyond + np.array([[0.0, 2.0]])
    filled = section(np.concatenate([path, beyond, upward]))
    cavity = filled.offset(-wall, JoinType.Round, 2.0, 64) ^ box((0.0, floor), (_PLANE_EXTENT, _PLANE_EXTENT))
    cavity = round_corners(cavity, convex=min(fillet, 0.8 * (float(rim[1]) - floor)))
    normal = (1 - level) * np.array([max(tangent[0], 0.0), max(tangent[1], 0.05)]) + level * np.array([0.0, 1.0])
    normal /= np.linalg.norm(normal)
    along = np.array([normal[1], -normal[0]])
    corners = [
        rim - _PLANE_EXTENT * along,
        rim + _PLANE_EXTENT * along,
        rim + _PLANE_EXTENT * (along + normal),
        rim + _PLANE_EXTENT * (normal - along),
    ]
    beyond_rim = CrossSection([np.array(corners)]) ^ CrossSection.square((_PLANE_EXTENT, 2 * _PLANE_EXTENT)).translate(
        (0.0, -_PLANE_EXTENT)
    )
    below_top = box((0.0, -_PLANE_EXTENT), (_PLANE_EXTENT, float(upward[0, 1]) - 1.5 * wall))
    material = (filled ^ below_top) - cavity
    return Shell(wall=material - beyond_rim - beyond_rim.mirror((1.0, 0.0)), cavity=cavity)


def lathe(region: CrossSection, plan: Plan) -> Manifold:
    """Return the solid that a section (radius, height) makes when turned around +y with the outlines of a plan."""
    segments = len(plan.spread)
    turned = Manifold.revolve(region.simplify(1.2e-3), segments)
    step = 2 * np.pi / segments

    def place(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        radius = np.hypot(points[:, 0], points[:, 1])
        index = np.rint(np.arctan2(points[:, 1], points[:, 0]) / step).astype(np.int64) % segments
        inner = np.minimum(radius / plan.core_radius, 1.0) if plan.core_radius > 0 else np.zeros_like(radius)
        outer = np.maximum(radius - plan.core_radius, 0.0)
        outline = plan.core[index] * inner[:, None] + plan.spread[index] * outer[:, None]
        return np.stack([outline[:, 0], points[:, 2], -outline[:, 1]], axis=1)

    return turned.warp_batch(place)


def to_standing_mesh(solid: Manifold, *, unit: float) -> TriangleMesh:
    """Return a solid as a mesh in metres that stands on y = 0; `unit` is the metres in one section unit.

    Vertices that the shape does not need are removed.
    """
    simple = solid.simplify(1e-4)
    standing = simple.translate((0.0, -simple.bounding_box()[1], 0.0))
    return to_mesh(standing.scale((unit, unit, unit)))
