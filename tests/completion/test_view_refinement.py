"""Detail of a view: the surface moves to where it was seen, nothing else does, and noise does not become shape."""

from functools import cache

import numpy as np
import pytest
from helpers.ellipsoids import ellipsoid_prior, ellipsoid_view

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.completion.view_refinement import ViewRefinementConfig, follow_view
from shapeprior.datasets.prepare_mesh import prepare_mesh
from shapeprior.datasets.procedural import synthesize
from shapeprior.errors import ConfigError
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.displaced_field import DifferentiableField
from shapeprior.scans.observation import Observation
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

RADIUS = 0.5
CONFIG = ViewRefinementConfig()
KNOWN = Similarity.identity()
ABOVE = np.array([0.0, 4.0, 0.0])
"""Where the sensor stands."""


class Ball:
    """The signed distance of a ball around the origin."""

    radius = RADIUS

    def __call__(self, points_unit: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points_unit, axis=1) - self.radius

    def gradient(self, points_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self(points_unit), points_unit / np.linalg.norm(points_unit, axis=1, keepdims=True)


class Plate:
    """A round plate, radius 0.6, across the y axis; `slit` raises its field by so much within 0.05 of x = 0.3."""

    def __init__(self, thickness: float, slit: float = 0.0) -> None:
        self.thickness, self.slit = thickness, slit

    def __call__(self, points_unit: np.ndarray) -> np.ndarray:
        return self.gradient(points_unit)[0]

    def gradient(self, points_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = np.hypot(points_unit[:, 0], points_unit[:, 2])
        across = np.abs(points_unit[:, 1]) - 0.5 * self.thickness
        raised = self.slit * np.maximum(1.0 - np.abs(points_unit[:, 0] - 0.3) / 0.05, 0.0)
        flat = across >= out - 0.6
        up = np.stack([0.0 * out, np.sign(points_unit[:, 1]), 0.0 * out], axis=1)
        outward = points_unit * [1.0, 0.0, 1.0] / np.maximum(out, 1e-9)[:, None]
        return np.maximum(across, out - 0.6) + raised, np.where(flat[:, None], up, outward)


def directions(count: int, seed: int, low: float = 0.6) -> np.ndarray:
    """Unit vectors in the cap y > `low`."""
    found = np.random.default_rng(seed).normal(size=(50 * count + 500, 3))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found[found[:, 1] > low][:count]


def cap(distance: np.ndarray | float, *, count: int, seed: int, low: float = 0.6) -> np.ndarray:
    """Points of the ball's cap, at this distance from its surface."""
    return (RADIUS + np.broadcast_to(distance, count))[:, None] * directions(count, seed, low)


def seen(points: np.ndarray) -> Observation:
    return Observation(points_world=points, origins_world=np.tile(ABOVE, (len(points), 1)))


def noise(deviation: float, count: int, *, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(5).normal(mean, deviation, count)


def detailed(view: Observation, field: DifferentiableField | None = None) -> DifferentiableField:
    return follow_view(field or Ball(), view, config=CONFIG)


def genus(field: DifferentiableField) -> int:
    mesh = extract_mesh(field, ExtractConfig(resolution=128)).mesh
    return int(mesh.part_labels.max()) + 1 - (len(mesh.vertices) - len(mesh.faces) // 2) // 2


@pytest.mark.parametrize("distance", [0.015, -0.015, 0.04])
def test_the_surface_moves_to_where_it_was_seen_and_nowhere_else(distance: float) -> None:
    moved = detailed(seen(cap(distance, count=4000, seed=0)))
    # Towards the edge of what was seen, the displacement fades.
    assert np.abs(moved(cap(distance, count=1000, seed=1, low=0.75))).max() < 0.15 * abs(distance)
    elsewhere = np.random.default_rng(2).uniform(-1.0, 1.0, (20_000, 3))
    elsewhere = elsewhere[elsewhere[:, 1] < 0.0]
    np.testing.assert_allclose(moved(elsewhere), Ball()(elsewhere), atol=1e-6)


@pytest.mark.parametrize("deviation", [0.003, 0.01, 0.03])
def test_noise_moves_the_surface_by_far_less_than_itself(deviation: float) -> None:
    moved = detailed(seen(cap(noise(deviation, 4000), count=4000, seed=0)))
    assert np.sqrt(np.mean(moved(cap(0.0, count=1000, seed=1)) ** 2)) < 0.15 * deviation


def test_noise_does_not_hide_a_shift() -> None:
    moved = detailed(seen(cap(noise(0.01, 4000, mean=0.015), count=4000, seed=0)))
    assert np.abs(np.mean(moved(cap(0.015, count=1000, seed=1, low=0.75)))) < 0.2 * 0.015


def test_a_view_of_the_shape_as_it_is_changes_nothing() -> None:
    moved = detailed(seen(cap(0.0, count=4000, seed=0)))
    points = np.random.default_rng(2).uniform(-0.7, 0.7, (20_000, 3))
    np.testing.assert_allclose(moved(points), Ball()(points), atol=1e-5)


def test_points_that_are_there_many_times_are_one() -> None:
    noisy, at = cap(noise(0.01, 600), count=600, seed=0), cap(0.0, count=1000, seed=1)
    once, often = (detailed(seen(np.tile(noisy, (times, 1))))(at) for times in (1, 8))
    np.testing.assert_allclose(often, once, atol=1e-6)


@pytest.mark.parametrize("known_by", ["sensor", "normals"])
def test_what_shows_its_back_to_the_sensor_was_not_seen(known_by: str) -> None:
    """Seen from within the ball, its surface does not move; without sensor or normals it does."""
    points = cap(0.01, count=2000, seed=0)
    view = Observation(
        points_world=points,
        origins_world=np.zeros_like(points) if known_by == "sensor" else None,
        normals_world=-points / np.linalg.norm(points, axis=1, keepdims=True) if known_by == "normals" else None,
    )
    at = cap(0.01, count=1000, seed=1, low=0.75)
    np.testing.assert_allclose(detailed(view)(at), Ball()(at), atol=1e-6)
    blind = Observation(points_world=points, origins_world=None)
    assert np.abs(detailed(blind)(at)).max() < 0.2 * 0.01


def test_points_out_of_reach_and_strays_say_nothing() -> None:
    ball = Ball()
    assert follow_view(ball, seen(cap(0.1, count=500, seed=0)), config=CONFIG) is ball
    # A few lonely points beside many on the surface do not get a surface.
    lonely = cap(0.03, count=5, seed=3) * [1.0, -1.0, 1.0]
    points = np.concatenate([cap(0.0, count=2000, seed=1), lonely])
    moved = detailed(Observation(points_world=points, origins_world=None))
    assert (moved(lonely) > 0.8 * 0.03).all()


@pytest.mark.parametrize("count", [1, 11, 12, 30])
def test_fewer_points_than_neighbours_say_nothing(count: int) -> None:
    ball = Ball()
    moved = follow_view(ball, seen(cap(0.01, count=count, seed=0, low=0.9)), config=CONFIG)
    assert (moved is ball) == (count < 12)
    assert np.isfinite(moved(np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 3)))).all()


@pytest.mark.parametrize(("thickness", "thicker"), [(0.006, 0.008), (0.02, 0.002)])
def test_both_sides_of_a_thin_wall_move(thickness: float, thicker: float) -> None:
    """A plate seen 0.02 above its top is there, and in one piece. It is as thick as before, or a little thicker if no
    grid would show it."""
    place = np.random.default_rng(0).uniform(-0.55, 0.55, (6000, 3))
    place = place[np.hypot(place[:, 0], place[:, 2]) < 0.55]
    place[:, 1] = 0.5 * thickness + 0.02
    moved = detailed(seen(place), Plate(thickness))
    inner = place[np.hypot(place[:, 0], place[:, 2]) < 0.4]
    assert np.abs(moved(inner)).max() < 0.004
    far_side = moved(inner - [0.0, thickness, 0.0])
    assert -thicker < far_side.min() < far_side.max() < 0.002
    assert genus(Plate(0.06)) == genus(detailed(seen(place), Plate(0.06))) == 0


@pytest.mark.parametrize("angle", [5.0, 10.0, 20.0])
def test_rays_that_graze_a_wall_do_not_thicken_it(angle: float) -> None:
    """They end before they are as deep in the wall as the surface is off."""
    place = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 3))
    place[:, 1] = 0.02
    sensor = 10.0 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.0])
    view = Observation(points_world=place, origins_world=np.tile(sensor, (len(place), 1)))
    inner = place[np.hypot(place[:, 0], place[:, 2]) < 0.35] * [1.0, 0.0, 1.0]
    assert np.abs(detailed(view, Plate(0.02))(inner)).max() < 0.003


@pytest.mark.parametrize("length", [0.0, 0.001, 1.0, 100.0])
def test_normals_of_any_length_count_as_directions_or_not_at_all(length: float) -> None:
    place = np.random.default_rng(0).uniform(-0.4, 0.4, (6000, 3))
    place[:, 1] = 0.01
    normals = np.where(np.arange(len(place))[:, None] % 2, [0.0, 1.0, 0.0], [0.0, length, 0.0])
    view = Observation(points_world=place, origins_world=None, normals_world=normals)
    behind = place - [0.0, 0.02, 0.0]
    assert np.abs(detailed(view, Plate(0.02))(behind)).max() < 0.002


def test_a_sensor_on_its_point_is_no_reason_to_fail() -> None:
    points = cap(0.01, count=2000, seed=0)
    origins = np.tile(ABOVE, (len(points), 1))
    origins[::2] = points[::2]
    moved = detailed(Observation(points_world=points, origins_world=origins))
    assert np.isfinite(moved(points)).all()


def test_points_far_away_cost_nothing_and_say_nothing() -> None:
    """A field that stays small far away would take them for its own."""

    class Floor(Ball):
        def gradient(self, points_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return points_unit[:, 1], np.tile([0.0, 1.0, 0.0], (len(points_unit), 1))

        def __call__(self, points_unit: np.ndarray) -> np.ndarray:
            return points_unit[:, 1]

    place = np.random.default_rng(0).uniform(-0.3, 0.3, (3000, 3)) * [1.0, 0.0, 1.0] + [0.0, 0.01, 0.0]
    views = (place, np.concatenate([place, [[1e3, 0.01, 1e3]]]))
    near, far = (detailed(Observation(points_world=points, origins_world=None), Floor()) for points in views)
    np.testing.assert_allclose(near(place), far(place), atol=1e-6)


def test_no_surface_leaves_the_cube() -> None:
    directions = cap(0.0, count=8000, seed=0, low=-1.0) / RADIUS
    ball = Ball()
    ball.radius = 0.97
    view = Observation(points_world=1.015 * directions, origins_world=5.0 * directions)
    mesh = extract_mesh(detailed(view, ball), ExtractConfig(resolution=64)).mesh
    assert np.abs(mesh.vertices).max() < 0.999


def test_a_slit_closes_where_a_wall_was_seen_and_an_opening_stays() -> None:
    plate = Plate(0.02, slit=0.014)
    place = np.random.default_rng(0).uniform(-0.58, 0.58, (20_000, 3))
    place = place[np.hypot(place[:, 0], place[:, 2]) < 0.58]
    place[:, 1] = 0.01
    middle = np.stack([np.full(50, 0.3), np.zeros(50), np.linspace(-0.4, 0.4, 50)], axis=1)
    assert (plate(middle) > 0.0).all()
    assert (detailed(seen(place), plate)(middle) < 0.0).all()
    left_open = follow_view(plate, seen(place), config=ViewRefinementConfig(wall=0.0))
    assert (left_open(middle) > 0.0).mean() > 0.9
    # Rays that passed through the slit say that it is one.
    beside = place[np.abs(place[:, 0] - 0.3) > 0.06]
    assert (detailed(seen(beside), plate)(middle) > 0.0).all()


@pytest.mark.parametrize("thickness", [0.002, 0.01])
def test_a_plate_does_not_grow_beyond_its_rim(thickness: float) -> None:
    place = np.random.default_rng(0).uniform(-0.6, 0.6, (20_000, 3))
    place = place[np.hypot(place[:, 0], place[:, 2]) < 0.6]
    place[:, 1] = 0.5 * thickness
    angle = np.linspace(0.0, 2.0 * np.pi, 100)
    beyond = 0.65 * np.stack([np.cos(angle), 0.0 * angle, np.sin(angle)], axis=1)
    assert (detailed(seen(place), Plate(thickness))(beyond) > 0.03).all()


def test_nothing_is_random() -> None:
    view = seen(cap(noise(0.01, 9000, mean=0.01), count=9000, seed=0))
    at = cap(0.01, count=1000, seed=1)
    np.testing.assert_array_equal(detailed(view)(at), detailed(view)(at))


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"reach": 0.0}, {"wall": -0.1}, {"max_open": float("nan")}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ViewRefinementConfig(**wrong)  # pyright: ignore[reportArgumentType]


# Completions.


def real_prior() -> ShapePrior:
    return load("mug")


def test_any_decoder_follows_its_view() -> None:
    """Space is moved, not the decoder's features, so that DeepSDF's shapes follow as well."""
    view = ellipsoid_view(np.array([0.4, -0.9]))
    dented = Observation(
        points_world=view.points_world * (1.0 + 0.02 * np.cos(8.0 * view.points_world[:, 1:2])),
        origins_world=view.origins_world,
    )
    estimate = ellipsoid_prior().infer(dented, T_unit_world=KNOWN)
    errors = []
    for config in (None, ViewRefinementConfig(steps=0)):
        done = ellipsoid_prior().completion(estimate, dented, resolution=64, detail=config)
        errors.append(np.median(np.abs(SignedDistance(done.mesh_unit)(dented.points_world[::10]))))
    assert errors[0] < 0.5 * errors[1]


@cache
def strange_mug() -> tuple[TriangleMesh, Observation]:
    """A generated mug with a dent and a swelling that no training mug has, and a view of it."""
    mesh = synthesize("mug", seed=77, index=3)
    surface = prepare_mesh(mesh, name="mug", up="y", sheet_half_thickness=SHEET_HALF_THICKNESS).distance.surface
    center = surface.vertices.mean(axis=0)
    around = surface.vertices - center
    angle = np.arctan2(around[:, 2], around[:, 0])
    outward = around * [1.0, 0.0, 1.0]
    strength = 0.05 * np.sin(3.0 * angle) * np.cos(4.0 * around[:, 1])
    dented = TriangleMesh(vertices=surface.vertices + strength[:, None] * outward, faces=surface.faces)
    return dented, shape_view(dented, "mug", resolution=192, seed=0).observation


@pytest.mark.slow
def test_the_mesh_of_an_unusual_object_follows_the_view() -> None:
    _, view = strange_mug()
    prior = real_prior()
    estimate = prior.infer(view, T_unit_world=KNOWN)
    distances, meshes = [], []
    for config in (None, ViewRefinementConfig(steps=0)):
        done = prior.completion(estimate, view, resolution=96, detail=config)
        assert done.mesh.is_watertight
        meshes.append(done)
        distances.append(np.median(np.abs(SignedDistance(done.mesh_unit)(view.points_world[::10]))))
    with_detail, plain = distances
    assert with_detail < 0.6 * plain
    # What was not seen stays.
    moved, support = np.abs(SignedDistance(meshes[1].mesh_unit)(meshes[0].mesh_unit.vertices)), meshes[0].support.value
    assert np.median(moved[support == 0.0]) < 0.5 * np.median(moved[support == 1.0])


@pytest.mark.slow
def test_without_steps_the_mesh_is_the_codes() -> None:
    _, view = strange_mug()
    prior = real_prior()
    done = prior.complete(view, T_unit_world=KNOWN, resolution=64, detail=ViewRefinementConfig(steps=0))
    by_code = prior.extract(done.code, resolution=64)
    np.testing.assert_array_equal(done.mesh_unit.faces, by_code.faces)
    np.testing.assert_array_equal(done.mesh_unit.vertices, by_code.vertices)


@pytest.mark.slow
def test_a_shape_that_explains_nothing_is_not_bent() -> None:
    """A plane completed as a mug stays the mug of its code, and what is said of it is the same."""
    grid = np.linspace(-0.8, 0.8, 60)
    plane = np.stack([*np.meshgrid(grid, grid), np.full((60, 60), 0.05)], axis=-1).reshape(-1, 3)
    view = Observation(points_world=plane, origins_world=np.tile([0.0, 0.0, 3.0], (len(plane), 1)))
    prior = real_prior()
    done = prior.complete(view, T_unit_world=KNOWN, resolution=64)
    assert done.verdict.kind == "unexplained"
    by_code = prior.extract(done.code, resolution=64)
    np.testing.assert_array_equal(done.mesh_unit.vertices, by_code.vertices)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_detail_is_taken_in_the_scans_own_frame(scale: float) -> None:
    """A view in millimetres, turned and moved, gives the same mesh there."""
    _, view = strange_mug()
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    T_world_unit = Similarity(scale=scale, rotation=turn, offset=np.array([5.0, -2.0, 1.0]))
    prior = real_prior()
    plain = prior.complete(view, T_unit_world=KNOWN, resolution=48)
    moved = prior.complete(view.transformed(T_world_unit), T_unit_world=T_world_unit.inverse(), resolution=48)
    back = T_world_unit.inverse().apply(moved.mesh.vertices)
    distance = np.abs(SignedDistance(plain.mesh)(back[::20]))
    assert np.quantile(distance, 0.9) < 0.002
    # By the code alone it lies elsewhere.
    by_code = prior.extract(moved.code, resolution=48)
    assert np.quantile(np.abs(SignedDistance(by_code)(back[::20])), 0.9) > 0.003
