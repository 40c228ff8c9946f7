"""Detail of a view: the surface moves to where it was seen, nothing else does, and noise does not become shape."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers.ellipsoids import ellipsoid_prior, ellipsoid_view
from torch import Tensor

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.refinement import ViewRefinementConfig, observed_surface_targets, refine_prepared
from shapeprior.completion.registry import load
from shapeprior.datasets.prepare_mesh import prepare_mesh
from shapeprior.datasets.procedural import synthesize
from shapeprior.errors import ConfigError
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.presets import build_decoder, preset
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder
from shapeprior.scans.observation import Observation
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

RADIUS = TriplaneDecoder.START_RADIUS
CONFIG = ViewRefinementConfig()
KNOWN = Similarity.identity()


@cache
def round_decoder() -> TriplaneDecoder:
    """Untrained: about a ball of `RADIUS`."""
    return TriplaneDecoder(TriplaneConfig(code_size=4), seed=0)


def prepared_ball() -> tuple[Tensor, ...]:
    with torch.no_grad():
        return round_decoder().prepare(torch.full((1, 4), 0.2))


def field(prepared: tuple[Tensor, ...], points: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return round_decoder().query(prepared, torch.from_numpy(points).float()[None])[0].double().numpy()


def on_level(distance: np.ndarray | float, *, count: int, seed: int, low: float = 0.3) -> np.ndarray:
    """Points above y = `low` where the ball's field is this, found by bisection along the radius."""
    directions = np.random.default_rng(seed).normal(size=(50 * count + 500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions[directions[:, 1] > low / RADIUS][:count]
    assert len(directions) == count
    low_radius, high_radius = np.full(count, RADIUS - 0.2), np.full(count, RADIUS + 0.2)
    for _ in range(40):
        radius = 0.5 * (low_radius + high_radius)
        inside = field(prepared_ball(), radius[:, None] * directions) < distance
        low_radius, high_radius = np.where(inside, radius, low_radius), np.where(inside, high_radius, radius)
    return radius[:, None] * directions


def detailed(view: Observation, config: ViewRefinementConfig = CONFIG, seed: int = 0) -> tuple[Tensor, ...]:
    known = observed_surface_targets(round_decoder(), prepared_ball(), view, config=config, seed=seed)
    return refine_prepared(round_decoder(), prepared_ball(), known, config=config.refinement, seed=seed)


def test_the_ball_of_these_tests_is_one() -> None:
    points = on_level(0.0, count=500, seed=0)
    assert np.abs(np.linalg.norm(points, axis=1) - RADIUS).max() < 0.1
    assert np.abs(field(prepared_ball(), points)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0.015, -0.015])
def test_the_surface_moves_to_where_it_was_seen_and_nowhere_else(distance: float) -> None:
    view = Observation(points_world=on_level(distance, count=4000, seed=0), origins_world=None)
    moved, fresh = detailed(view), on_level(distance, count=1000, seed=1)
    before, after = np.abs(field(prepared_ball(), fresh)), np.abs(field(moved, fresh))
    assert np.median(before) == pytest.approx(abs(distance), rel=0.01)
    # Untrained planes say little; trained ones are below, with mugs.
    assert np.median(after) < 0.5 * abs(distance)
    rng = np.random.default_rng(2)
    elsewhere = rng.uniform(-1.0, 1.0, (20_000, 3))
    elsewhere = elsewhere[(elsewhere[:, 1] < 0.2) & (np.abs(field(prepared_ball(), elsewhere)) < 0.1)]
    change = np.abs(field(moved, elsewhere) - field(prepared_ball(), elsewhere))
    assert np.quantile(change, 0.9) < 0.1 * abs(distance)


@pytest.mark.slow
def test_noise_moves_the_surface_little() -> None:
    """By far less than its own deviation; and little of what the points say is believed."""
    deviation = 0.01
    noisy = on_level(np.random.default_rng(5).normal(0.0, deviation, 4000), count=4000, seed=0)
    view = Observation(points_world=noisy, origins_world=None)
    wrong = field(detailed(view), on_level(0.0, count=1000, seed=1))
    assert np.sqrt(np.mean(wrong**2)) < 0.1 * deviation
    known = observed_surface_targets(round_decoder(), prepared_ball(), view, config=CONFIG, seed=0)
    # The view's own points come first.
    points, values = known.points[:3900].double().numpy(), known.values[:3900].double().numpy()
    believed = field(prepared_ball(), points) - values
    assert np.sqrt(np.mean(field(prepared_ball(), points) ** 2)) > 0.9 * deviation
    assert np.sqrt(np.mean(believed**2)) < 0.45 * deviation


def test_a_view_of_the_shape_as_it_is_changes_next_to_nothing() -> None:
    """Rounding is no reason to move: least of all where nothing was seen."""
    view = Observation(points_world=on_level(0.0, count=4000, seed=0), origins_world=None)
    elsewhere = np.random.default_rng(2).uniform(-0.7, 0.7, (20_000, 3))
    elsewhere = elsewhere[np.abs(field(prepared_ball(), elsewhere)) < 0.05]
    change = np.abs(field(detailed(view), elsewhere) - field(prepared_ball(), elsewhere))
    assert np.quantile(change, 0.9) < 1e-4


def test_changes_have_nothing_that_differs_from_cell_to_cell() -> None:
    """Of planes that changed, the second differences are a small part, as a binomial filter leaves them."""
    noisy = on_level(np.random.default_rng(5).normal(0.0, 0.01, 4000), count=4000, seed=0)
    change = (detailed(Observation(points_world=noisy, origins_world=None))[0] - prepared_ball()[0]).numpy()
    rough = change[..., 1:-1] - 0.5 * (change[..., :-2] + change[..., 2:])
    assert np.sqrt(np.mean(rough**2)) < 0.3 * np.sqrt(np.mean(change**2))


@pytest.mark.slow
def test_points_that_are_there_many_times_are_one() -> None:
    deviation = 0.01
    noisy = on_level(np.random.default_rng(5).normal(0.0, deviation, 600), count=600, seed=0)
    once, often = (Observation(points_world=np.tile(noisy, (times, 1)), origins_world=None) for times in (1, 8))
    at = on_level(0.0, count=1000, seed=1)
    errors = [np.sqrt(np.mean(field(detailed(view), at) ** 2)) for view in (once, often)]
    assert errors[1] == pytest.approx(errors[0], rel=0.5)


@pytest.mark.parametrize("known_by", ["sensor", "normals"])
def test_what_shows_its_back_to_the_sensor_was_not_seen(known_by: str) -> None:
    """Points behind a sheet's other side, seen from its near side, do not move that; without sensor or normals they
    do."""
    points = on_level(0.01, count=2000, seed=0)
    below = np.tile([0.0, -4.0, 0.0], (len(points), 1))
    view = Observation(
        points_world=points,
        origins_world=below if known_by == "sensor" else None,
        normals_world=-points if known_by == "normals" else None,
    )
    assert len(observed_surface_targets(round_decoder(), prepared_ball(), view, config=CONFIG, seed=0).points) == 0
    blind = Observation(points_world=points, origins_world=None)
    assert len(observed_surface_targets(round_decoder(), prepared_ball(), blind, config=CONFIG, seed=0).points) > 0


@pytest.mark.slow
def test_noise_does_not_hide_a_shift() -> None:
    noisy = on_level(np.random.default_rng(5).normal(0.015, 0.01, 4000), count=4000, seed=0)
    moved = detailed(Observation(points_world=noisy, origins_world=None))
    fresh = on_level(0.015, count=1000, seed=1)
    assert np.abs(np.mean(field(moved, fresh))) < 0.6 * 0.015


def test_the_samples_move_the_field_with_the_surface_and_less_the_farther() -> None:
    """On both sides of a shifted surface, as far as the thickness; worked out anew, from the field and the shift."""
    shift = 0.01
    view = Observation(points_world=on_level(shift, count=3000, seed=0), origins_world=None)
    known = observed_surface_targets(round_decoder(), prepared_ball(), view, config=CONFIG, seed=0)
    points, values = known.points.double().numpy(), known.values.double().numpy()
    assert not known.side.any()
    before = field(prepared_ball(), points)
    aside = before - shift
    seen = (points[:, 1] > 0.4) & (np.abs(aside) < CONFIG.thickness)
    assert np.count_nonzero(seen) > 3000
    expected = before - shift * (1.0 - np.abs(aside) / CONFIG.thickness)
    # The untrained field's slope is not quite 1.
    assert np.quantile(np.abs(values[seen] - expected[seen]), 0.9) < 1.5e-3
    np.testing.assert_allclose(values[points[:, 1] < 0.2], before[points[:, 1] < 0.2], atol=1e-6)


@pytest.mark.slow
def test_points_out_of_reach_and_strays_say_nothing() -> None:
    far = on_level(0.1, count=500, seed=0)
    known = observed_surface_targets(
        round_decoder(), prepared_ball(), Observation(points_world=far, origins_world=None), config=CONFIG, seed=0
    )
    assert len(known.points) == 0
    unmoved = refine_prepared(round_decoder(), prepared_ball(), known, config=CONFIG.refinement, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(unmoved, prepared_ball(), strict=True))
    # A few lonely points beside many on the surface do not get a surface.
    seen = on_level(0.0, count=2000, seed=1)
    lonely = on_level(0.03, count=5, seed=3) * [-1.0, -1.0, -1.0]
    moved = detailed(Observation(points_world=np.concatenate([seen, lonely]), origins_world=None))
    assert (field(moved, lonely) > 0.8 * field(prepared_ball(), lonely)).all()


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_fewer_points_than_neighbours_say_nothing(count: int) -> None:
    view = Observation(points_world=on_level(0.01, count=count, seed=0, low=0.45), origins_world=None)
    known = observed_surface_targets(round_decoder(), prepared_ball(), view, config=CONFIG, seed=0)
    assert (len(known.points) > 0) == (count >= 8)
    assert torch.isfinite(known.points).all()
    assert torch.isfinite(known.values).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_field() -> None:
    view = Observation(points_world=on_level(0.01, count=9000, seed=0), origins_world=None)
    state = torch.get_rng_state()
    first, again, other = (detailed(view, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"points": 0},
        {"rate": 0.0},
        {"reach": -1.0},
        {"gap": float("nan")},
        {"gap": 0.03},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ViewRefinementConfig(**wrong)  # pyright: ignore[reportArgumentType]


def test_a_decoder_without_cells_gives_what_its_code_says() -> None:
    """DeepSDF's completion is its code's: what is prepared of it belongs to no place."""
    code = np.array([0.4, -0.9])
    assert not ellipsoid_prior().decoder.has_local_features
    assert not build_decoder(preset("deepsdf-256").decoder, seed=0).has_local_features
    done = ellipsoid_prior().complete(ellipsoid_view(code), T_unit_world=KNOWN, resolution=48)
    by_code = ellipsoid_prior().extract(done.code, resolution=48)
    np.testing.assert_array_equal(done.mesh_unit.vertices, by_code.vertices)


# Completions.


def real_prior() -> ShapePrior:
    return load("mug")


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
