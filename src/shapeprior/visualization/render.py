"""Renderings of meshes and point clouds by ray casting: no display, no graphics driver, the same bytes every time.

Meshes are lit as `shapeprior.visualization.lighting` says, and points are small balls. Colours are given as sRGB in 0
to 1 and added up as linear light. Everything is in the unit frame with +y up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from shapeprior.errors import ConfigError
from shapeprior.geometry.camera import PinholeCamera
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.raycasting import RayScene
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.simulation import camera_around, render_hits, view_direction
from shapeprior.visualization.lighting import ground_shade, shade

Color = tuple[float, float, float]
"""Red, green, blue in 0 to 1, sRGB."""
Paint = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points 3"]]
"""A function from points of a surface, in the unit frame, to their sRGB colours."""

MESH_COLOR: Color = (0.56, 0.68, 0.83)
POINT_COLOR: Color = (0.87, 0.36, 0.16)
NEAR_COLOR: Color = (0.87, 0.33, 0.18)
FAR_COLOR: Color = (0.24, 0.45, 0.74)
BACKGROUND: Color = (0.975, 0.975, 0.98)

_SHADOW_STRIDE = 4
"""Pixels along each axis for one sample of the shadow on the ground, which is soft."""
_SHADOW_REACH = 3.0
"""Distance from the origin at which the shadow on the ground has faded out, in unit-sphere radii."""
_POINTS_PER_BATCH = 1024
"""Points whose pixels are computed together, which bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The camera and the size of a picture. Pictures with the same view line up."""

    azimuth_deg: float = 35.0
    """Direction in which the viewer stands, in degrees: 0 is +z, 90 is +x."""
    elevation_deg: float = 25.0
    """Angle of the viewer above the horizon, in degrees."""
    distance: float = 4.0
    """Distance of the viewer from the origin, in unit-sphere radii."""
    field_of_view_deg: float | None = None
    """Angle between the left and the right edge, in degrees; with None, the unit sphere touches the edges."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Offset of the picture's middle from the origin, right and down, in half widths of the picture."""
    width: int = 512
    """Width of the picture, in pixels."""
    height: int = 512
    """Height of the picture, in pixels."""
    samples: int = 2
    """Rays along each side of a pixel, against stair-steps at edges."""
    ground: float | None = None
    """Height (y) of the ground on which shapes cast a shadow; None leaves it out."""

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.samples) < 1:
            raise ConfigError(
                f"a picture needs at least 1 pixel and 1 sample; got {self.width} x {self.height} pixels with "
                f"{self.samples} samples"
            )

    def camera(self, *, samples: int | None = None) -> tuple[PinholeCamera, Similarity]:
        """Return the camera, with one pixel for each sample, and ``T_unit_camera``."""
        scale = self.samples if samples is None else samples
        camera, T_unit_camera = camera_around(
            azimuth_deg=self.azimuth_deg,
            elevation_deg=self.elevation_deg,
            distance=self.distance,
            field_of_view_deg=self.field_of_view_deg,
            resolution=self.width * scale,
        )
        width, height = self.width * scale, self.height * scale
        right, down = (0.5 * width * share for share in self.shift)
        return replace(camera, height=height, cx=camera.cx - right, cy=0.5 * (height - 1) - down), T_unit_camera

    def fitted(self, points_unit: Float[np.ndarray, "points 3"], *, border: float = 0.08) -> "View":
        """Return this view aimed so that the points fill the picture up to a border, with the ground under the lowest.

        The height of the picture shrinks to what the points need; it never grows.
        """
        camera, T_unit_camera = replace(self, field_of_view_deg=90.0, shift=(0.0, 0.0)).camera(samples=1)
        slopes = (camera.project(T_unit_camera.inverse().apply(points_unit)) - [camera.cx, camera.cy]) / camera.fx
        low, high = slopes.min(axis=0), slopes.max(axis=0)
        extent = np.maximum(high - low, 1e-6)
        half_width = 0.5 * (1.0 + 2.0 * border) * float(max(extent[0], extent[1] * self.width / self.height))
        right, down = (float(middle) for middle in 0.5 * (low + high) / half_width)
        needed = round(self.width * float(0.5 * (1.0 + 2.0 * border) * extent[1]) / half_width)
        return replace(
            self,
            field_of_view_deg=2.0 * float(np.rad2deg(np.arctan(half_width))),
            shift=(right, down),
            height=min(self.height, max(needed, self.width // 2)),
            ground=float(points_unit[:, 1].min()),
        )


def render_mesh(
    mesh: TriangleMesh,
    *,
    view: View,
    color: Color | Paint = MESH_COLOR,
    points: Float[np.ndarray, "points 3"] | None = None,
    point_color: Color | None = POINT_COLOR,
    point_radius: float = 0.010,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a shaded mesh, of one colour or painted, and any points that it does not hide, as `render_points` draws
    them."""
    scene = RayScene(mesh)
    camera, T_unit_camera = view.camera()
    depth, face = render_hits(scene, camera, T_unit_camera)
    hit = face >= 0
    light = _background(scene, view)
    seen = T_unit_camera.apply(camera.pixel_rays()[hit] * depth[hit][:, None])
    light[hit] = shade(
        mesh,
        scene,
        seen,
        face[hit],
        _light_part(face.shape, view.samples)[hit],
        parts=view.samples**2,
        eye=T_unit_camera.offset,
        lamp=_lamp(view),
        color=_linear(color(seen) if callable(color) else color),
    )
    if points is not None:
        _splat(light, np.where(hit, depth, np.inf), points, view, point_color, point_radius)
    return _develop(light, view)


def render_points(
    points: Float[np.ndarray, "points 3"], *, view: View, color: Color | None = None, radius: float = 0.010
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw points as small balls of `radius`, in unit-sphere radii, nearer ones in front; without `color`, by depth."""
    # For the shadow, each ball is three crossed squares.
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * radius
    quads = np.array([[0, 1, 3], [0, 3, 4], [1, 2, 4], [1, 4, 5], [0, 2, 3], [0, 3, 5]])
    faces = (np.arange(len(points))[:, None, None] * 6 + quads).reshape(-1, 3)
    vertices = (points[:, None] + corners).reshape(-1, 3)
    light = _background(RayScene(TriangleMesh(vertices=vertices, faces=faces)), view)
    _splat(light, np.full(light.shape[:2], np.inf), points, view, color, radius)
    return _develop(light, view)


def _background(scene: RayScene, view: View) -> Float[np.ndarray, "rows columns 3"]:
    """Return a nearly white background, with a soft shadow if the view has a ground."""
    rows, columns = view.height * view.samples, view.width * view.samples
    light = np.tile(_linear(BACKGROUND), (rows, columns, 1))
    if view.ground is None:
        return light
    coarse = replace(view, width=-(-view.width // _SHADOW_STRIDE), height=-(-view.height // _SHADOW_STRIDE), samples=1)
    camera, T_unit_camera = coarse.camera()
    rays = T_unit_camera.apply_vectors(camera.pixel_rays()).reshape(-1, 3)
    drop = view.ground - T_unit_camera.offset[1]
    travel = np.divide(drop, rays[:, 1], out=np.full(len(rays), -1.0), where=rays[:, 1] != 0)
    points = T_unit_camera.offset + travel[:, None] * rays
    # Rays for the shadow are cast near the shape only.
    near = np.flatnonzero((travel > 0) & (np.linalg.norm(points[:, [0, 2]], axis=1) < _SHADOW_REACH))
    shade_near = ground_shade(scene, points[near], lamp=_lamp(view))
    fade = np.clip(2.0 - 2.0 * np.linalg.norm(points[near][:, [0, 2]], axis=1) / _SHADOW_REACH, 0.0, 1.0)
    shaded = np.zeros(len(rays))
    shaded[near] = shade_near * fade
    shaded = gaussian_filter(shaded.reshape(camera.height, camera.width), 1.2)
    # The shadow also fades out towards the picture's edges, so that pictures side by side show no seam.
    for axis, size in enumerate(shaded.shape):
        inward = np.minimum(np.arange(size), np.arange(size)[::-1]) / (0.12 * size)
        shaded = shaded * np.expand_dims(np.minimum(inward, 1.0), 1 - axis)
    wide = Image.fromarray(shaded.astype(np.float32)).resize((columns, rows), Image.Resampling.BICUBIC)
    return light * (1.0 - np.clip(np.asarray(wide, dtype=np.float64), 0.0, 1.0))[:, :, None]


def _splat(
    light: Float[np.ndarray, "rows columns 3"],
    depth: Float[np.ndarray, "rows columns"],
    points: Float[np.ndarray, "points 3"],
    view: View,
    color: Color | None,
    radius: float,
) -> None:
    """Draw points as balls into `light` where they are nearer than `depth`; both arrays are changed in place."""
    camera, T_unit_camera = view.camera()
    centers = T_unit_camera.inverse().apply(points)
    centers = centers[centers[:, 2] > 2.0 * radius]
    lamp = T_unit_camera.inverse().apply_vectors(_lamp(view))
    along = np.clip((centers[:, 2:] - view.distance + 1.0) / 2.0, 0.0, 1.0)
    near, far = (NEAR_COLOR, FAR_COLOR) if color is None else (color, color)
    tints = _linear(near) * (1.0 - along) + _linear(far) * along

    pixels = camera.fx * radius / np.maximum(centers[:, 2], 1e-9)
    reach = np.arange(-np.ceil(pixels.max(initial=0.0)) - 1, np.ceil(pixels.max(initial=0.0)) + 2)
    window = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(1, -1, 2)
    flat_depth, flat_light = depth.reshape(-1), light.reshape(-1, 3)
    for start in range(0, len(centers), _POINTS_PER_BATCH):
        some = slice(start, start + _POINTS_PER_BATCH)
        middle = camera.project(centers[some])[:, None]
        pixel = np.round(middle) + window
        across = (pixel - middle) / pixels[some, None, None]
        drop = 1.0 - np.sum(across**2, axis=2)
        drawn = (drop > 0) & np.all((pixel >= 0) & (pixel < [camera.width, camera.height]), axis=2)
        ball = np.nonzero(drawn)[0]
        normal = np.concatenate([across[drawn], -np.sqrt(drop[drawn])[:, None]], axis=1)
        place = (pixel[drawn] @ [1, camera.width]).astype(np.int64)
        z = centers[some][ball, 2] + radius * normal[:, 2]
        np.minimum.at(flat_depth, place, z)
        front = z == flat_depth[place]
        brightness = 0.62 + 0.5 * np.maximum(normal[front] @ lamp, 0.0)
        flat_light[place[front]] = tints[some][ball[front]] * brightness[:, None]


def _lamp(view: View) -> Float[np.ndarray, "3"]:
    """Return the direction to the lamp, which is above the viewer's left shoulder."""
    return view_direction(azimuth_deg=view.azimuth_deg - 50.0, elevation_deg=min(view.elevation_deg + 30.0, 80.0))


def _light_part(shape: tuple[int, int], samples: int) -> Int[np.ndarray, "rows columns"]:
    """Return the part of the light's directions for each sample; the samples of a pixel together have all parts."""
    row, column = np.indices(shape)
    return (row % samples) * samples + column % samples


def _linear(color: Color | Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "*points 3"]:
    """Convert sRGB, 0 to 1, to linear light."""
    return np.array(color, dtype=np.float64) ** 2.2


def _develop(light: Float[np.ndarray, "rows columns 3"], view: View) -> UInt8[np.ndarray, "height width 3"]:
    """Average the samples of each pixel, and encode them as sRGB bytes."""
    samples = view.samples
    mean = light.reshape(view.height, samples, view.width, samples, 3).mean(axis=(1, 3))
    return np.round(255.0 * np.clip(mean, 0.0, 1.0) ** (1.0 / 2.2)).astype(np.uint8)
