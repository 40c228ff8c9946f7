"""Samples of a view of an analytic sphere: normals, and space that is really free.

The least-squares weights against autograd, and the steps against what they promise.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from helpers.ellipsoids import EllipsoidDecoder, ellipsoid_view, training_codes

from shapeprior.completion.fitting import FitProblem, FitState, GaussianPrior, LevenbergMarquardt, Pose
from shapeprior.completion.residuals import ObservedSamples, Residuals, ResidualSettings, observed_samples
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.models.latent_space import CodeSpace
from shapeprior.scans.observation import Observation

RADIUS, CENTER = 0.7, np.array([0.05, -0.1, 0.1])
POSE = look_at(np.array([1.5, 1.0, 2.0]), np.zeros(3))


def sphere_view(*, background_is_free: bool = True) -> Observation:
    camera = PinholeCamera(fx=110.0, fy=110.0, cx=47.5, cy=47.5, width=96, height=96)
    rays, center = camera.pixel_rays(), POSE.inverse().apply(CENTER)
    a, b = np.sum(rays * rays, axis=2), rays @ center
    inside = b * b - a * (center @ center - RADIUS**2)
    depth = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, 0.0)
    return Observation.from_depth(depth, camera, POSE, background_is_free=background_is_free)


def from_center(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - CENTER, axis=1)


def test_normals_are_the_spheres_and_point_to_the_sensor() -> None:
    samples = observed_samples(sphere_view().subsampled(4096, seed=0), seed=0)
    expected = (samples.surface - CENTER) / RADIUS
    cosines = np.einsum("ij,ij->i", samples.normals, expected)
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    assert np.median(angles) < 1.5
    assert np.quantile(angles, 0.95) < 8.0
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1.0)
    assert np.all(np.einsum("ij,ij->i", samples.normals, POSE.offset - samples.surface) >= 0.0)


def test_normals_are_those_of_the_best_plane_through_the_neighbours() -> None:
    points = sphere_view().subsampled(400, seed=0).points_world
    found = observed_samples(Observation.from_points(points, POSE.offset), seed=0)
    for point, normal in list(zip(found.surface, found.normals, strict=True))[::20]:
        near = points[np.argsort(np.linalg.norm(points - point, axis=1))[:12]]
        best = np.linalg.svd(near - near.mean(axis=0))[2][-1]
        assert abs(best @ normal) == pytest.approx(1.0, abs=1e-9)


def test_free_samples_are_outside_and_surface_samples_on_the_surface() -> None:
    samples = observed_samples(sphere_view().subsampled(500, seed=0), seed=0)
    assert len(samples.surface) == 500
    np.testing.assert_allclose(from_center(samples.surface), RADIUS, atol=1e-9)
    assert from_center(samples.free).min() > RADIUS
    # All around: near the surface, and in the rest of the unit sphere.
    assert np.count_nonzero(from_center(samples.free) < RADIUS + 0.05) > 100
    assert np.count_nonzero(from_center(samples.free) > RADIUS + 0.2) > 100
    assert np.linalg.norm(samples.free, axis=1).max() < 1.3


def test_without_background_free_space_is_before_the_surface_only() -> None:
    samples = observed_samples(sphere_view(background_is_free=False).subsampled(500, seed=0), seed=0)
    assert len(samples.free) > 500
    assert from_center(samples.free).min() > RADIUS
    towards = POSE.offset / np.linalg.norm(POSE.offset)
    assert (samples.free @ towards).min() > (samples.surface @ towards).min()


def test_samples_just_before_the_surface_stay_on_the_way_to_a_near_sensor() -> None:
    """A sensor 0.05 from the surface: steps of up to 0.15 would pass it, and leave what it saw."""
    directions = np.random.default_rng(0).standard_normal((300, 3))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = CENTER + RADIUS * directions
    sensors = CENTER + (RADIUS + 0.05) * directions
    samples = observed_samples(Observation.from_points(points, sensors).subsampled(300, seed=0), seed=0)
    assert from_center(samples.free).min() > RADIUS
    assert from_center(samples.free).max() < RADIUS + 0.05


def test_an_unknown_sensor_gives_neither_normals_nor_free_space() -> None:
    points = sphere_view().points_world
    samples = observed_samples(Observation.from_points(points).subsampled(200, seed=0), seed=0)
    assert np.all(samples.normals == 0.0)
    assert samples.free.shape == (0, 3)
    assert len(samples.surface) == 200


def test_given_normals_are_kept() -> None:
    view = sphere_view()
    normals = (view.points_world - CENTER) / RADIUS
    for sensor in (POSE.offset, None):
        given = Observation.from_points(view.points_world, sensor, normals_world=normals)
        samples = observed_samples(given.subsampled(200, seed=0), seed=0)
        np.testing.assert_allclose(samples.normals, (samples.surface - CENTER) / RADIUS)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_handful_of_points_is_enough_to_go_on(count: int) -> None:
    points = sphere_view().points_world[:count]
    samples = observed_samples(Observation.from_points(points, POSE.offset).subsampled(100, seed=0), seed=0)
    lengths = np.linalg.norm(samples.normals, axis=1)
    np.testing.assert_allclose(lengths, 0.0 if count < 4 else 1.0)
    assert np.isfinite(samples.free).all()


def test_seed_decides() -> None:
    first, again, other = (observed_samples(sphere_view().subsampled(300, seed=seed), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.free, again.free)
    np.testing.assert_array_equal(first.surface, again.surface)
    assert not np.array_equal(first.surface, other.surface)


SETTINGS = ResidualSettings(shell=0.012, huber=0.02, free_weight=0.7)
LIKE = torch.zeros(1, dtype=torch.float64)


def drawn(*, normals: bool = True, free: int = 60) -> Residuals:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if not normals:
        directions = np.zeros_like(directions)
    samples = ObservedSamples(rng.uniform(-1, 1, (40, 3)), directions, rng.uniform(-1, 1, (60, 3)))
    return Residuals.draw(samples, SETTINGS, points=40, free=free, seed=0, like=LIKE)


@pytest.mark.parametrize("spread", [0.005, 0.05, 0.5])
@pytest.mark.parametrize("normals", [True, False])
def test_weighted_errors_are_the_gradient_of_the_value(spread: float, normals: bool) -> None:
    residuals = drawn(normals=normals)
    field = spread * torch.randn(len(residuals.points), generator=torch.Generator().manual_seed(1)).double()
    field.requires_grad_()
    (gradient,) = torch.autograd.grad(residuals.value(field), field)
    found = (residuals.weights(field) * residuals.errors(field)).detach()
    # Free space near its bound has a bounded weight instead of the absolute value's full gradient.
    exact = torch.arange(len(found)) < 3 * len(residuals.surface)
    exact |= residuals.errors(field).detach().abs() > 0.5 * SETTINGS.huber
    torch.testing.assert_close(found[exact], gradient[exact])
    assert torch.all(found.sign()[~exact] == gradient.sign()[~exact])


def test_the_value_is_a_mean_and_free_space_counts_where_it_is_filled_only() -> None:
    residuals = drawn()
    right = torch.cat(
        [torch.zeros(40), torch.full((40,), 0.012), torch.full((40,), -0.012), torch.full((60,), 0.5)]
    ).double()
    assert float(residuals.value(right)) < 1e-15
    filled = right.clone()
    filled[120:] = -0.1
    assert float(residuals.value(filled)) == pytest.approx(0.7 * 0.112)
    off = right.clone()
    off[:40] = 0.3
    assert float(residuals.value(off)) == pytest.approx(0.3 - 0.01)
    assert float(residuals.value(torch.full_like(right, torch.nan))) == float("inf")


def test_a_view_without_free_space_or_normals_has_none() -> None:
    residuals = drawn(normals=False, free=0)
    field = torch.full((len(residuals.points),), 0.01, dtype=torch.float64)
    assert float(residuals.value(field)) == pytest.approx(0.01**2 / 0.04)


def test_moving_the_view_moves_points_and_turns_normals() -> None:
    residuals = drawn()
    pose = Pose.identity(LIKE).stepped(torch.tensor([0.2, 0.1, -0.3, 0.05, 0.3, 0.1, -0.4]).double())
    moved = residuals.transformed(pose.scale, pose.rotation, pose.offset)
    torch.testing.assert_close(moved.normals.norm(dim=1), torch.ones(40).double())
    torch.testing.assert_close(
        torch.cdist(moved.free, moved.free), 1.2214027581601699 * torch.cdist(residuals.free, residuals.free)
    )
    # The shell does not grow with the view.
    torch.testing.assert_close((moved.points[40:80] - moved.surface).norm(dim=1), torch.full((40,), 0.012).double())


def somewhere() -> GaussianPrior:
    return GaussianPrior(torch.zeros(2).double(), torch.ones(2).double(), Pose.identity(LIKE))


def test_a_pose_is_as_far_from_the_expected_one_as_its_scale_and_the_place_of_its_origin_are() -> None:
    expected = GaussianPrior(
        torch.tensor([0.5, -1.0]).double(), torch.tensor([0.5, 2.0]).double(),
        Pose(torch.tensor(2.0).double(), torch.eye(3).double(), torch.tensor([0.0, 4.0, 0.0]).double()), 0.1, 0.25,
    )  # fmt: skip
    torch.testing.assert_close(expected.pose_distance(expected.pose), torch.zeros(4).double())
    torch.testing.assert_close(
        expected.code_distance(torch.tensor([1.0, 0.0]).double()), torch.tensor([1.0, 0.5]).double()
    )
    # Turning about the origin of the unit frame, or growing from there, leaves the origin where it is.
    turned = expected.pose.stepped(torch.tensor([0.2, 0.0, 0.0, 0.0, 0.3, 0.1, -0.4]).double())
    torch.testing.assert_close(expected.pose_distance(turned), torch.tensor([2.0, 0.0, 0.0, 0.0]).double())
    moved = expected.pose.stepped(torch.tensor([0.0, 0.5, 0.0, -0.25, 0.0, 0.0, 0.0]).double())
    torch.testing.assert_close(expected.pose_distance(moved), torch.tensor([0.0, 2.0, 0.0, -1.0]).double())


@pytest.mark.parametrize("unknown", [(), (0, 1, 2, 3), (0, 1, 2, 3, 5)])
@pytest.mark.parametrize("part_counts", [False, True])
def test_steps_end_where_the_objective_with_its_prior_is_level(unknown: tuple[int, ...], part_counts: bool) -> None:
    """The expected code and placement are wrong and weigh much, so that prior and view pull against each other.

    Without free points that are nearly outside, whose weights are not quite those of their objective. With
    `part_counts`, the normal of every other point is unknown, and free points are far outside or at the middle, so that
    points that count and points that do not are mixed.
    """
    decoder, space = EllipsoidDecoder().double(), CodeSpace.fit(training_codes())
    space = CodeSpace(mean=space.mean.double(), axes=space.axes.double())
    samples = observed_samples(ellipsoid_view(np.array([0.4, -0.9])).subsampled(2000, seed=0), seed=0)
    residuals = Residuals.draw(samples, SETTINGS, points=400, free=0, seed=0, like=LIKE)
    if part_counts:
        known = (torch.arange(400) % 2).double()
        free = torch.tensor([[3.0, 0.0, 0.0], [0.05, 0.1, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 0.1]]).double()
        residuals = Residuals(residuals.surface, known[:, None] * residuals.normals, free, residuals.settings)
    shifted = Pose.identity(LIKE).stepped(torch.tensor([0.1, 0.05, -0.05, 0.1, 0.0, 0.0, 0.0]).double())
    expected = GaussianPrior(torch.tensor([1.0, 1.0]).double(), torch.tensor([0.3, 0.4]).double(), shifted, 0.1, 0.1)
    problem = FitProblem(
        decoder=decoder, space=space, samples=samples, settings=SETTINGS, prior_weight=3e-2, unknown=unknown
    )
    optimizer = LevenbergMarquardt(problem)
    start = FitState(expected.whitened, shifted if unknown else Pose.identity(LIKE), expected)
    found = optimizer.fit(start, residuals, steps=60, relinearize_every=1)

    def change(entry: int) -> float:
        """Of the objective, with a step of 1e-4 to both sides, by its length."""
        values = []
        for step in (1e-4, -1e-4):
            whitened, pose = found.whitened.clone(), torch.zeros(7).double()
            if entry < 2:
                whitened[entry] += step
            else:
                pose[entry - 2] += step
            guess = dataclasses.replace(found, whitened=whitened, pose=found.pose.stepped(pose))
            values.append(problem.evaluate(guess, residuals).objective)
        return (values[0] - values[1]) / 2e-4

    start_value = problem.evaluate(start, residuals).objective
    assert found.objective < 0.9 * start_value
    for entry in (0, 1, *(2 + entry for entry in unknown)):
        # Without the prior, or without the view, the slope is a hundred times as large.
        assert abs(change(entry)) < 2e-3, entry


def test_deviations_are_those_of_the_posterior_that_the_objective_is_the_logarithm_of() -> None:
    """Against second differences of the objective. With few, heavy samples the prior matters, too."""
    decoder, space = EllipsoidDecoder().double(), CodeSpace.fit(training_codes())
    space = CodeSpace(mean=space.mean.double(), axes=space.axes.double())
    samples = observed_samples(ellipsoid_view(np.array([0.4, -0.9])).subsampled(2000, seed=0), seed=0)
    residuals = Residuals.draw(samples, SETTINGS, points=400, free=0, seed=0, like=LIKE)
    unknown, weight = (0, 1, 2, 3, 5), 1e-2
    problem = FitProblem(
        decoder=decoder, space=space, samples=samples, settings=SETTINGS, prior_weight=weight, unknown=unknown
    )
    optimizer = LevenbergMarquardt(problem)
    start = FitState(torch.zeros(2).double(), Pose.identity(LIKE), somewhere())
    found = optimizer.fit(start, residuals, steps=60, relinearize_every=1)

    def at(step: np.ndarray) -> float:
        pose = torch.zeros(7).double()
        pose[list(unknown)] = torch.from_numpy(step[2:])
        whitened = found.whitened + torch.from_numpy(step[:2])
        return problem.evaluate(
            dataclasses.replace(found, whitened=whitened, pose=found.pose.stepped(pose)), residuals
        ).objective

    size, length = 2 + len(unknown), 2e-3
    steps = length * np.eye(size)
    hessian = np.array(
        [[at(a + b) - at(a - b) - at(b - a) + at(-a - b) for b in steps] for a in steps]
    ) / (4.0 * length**2)  # fmt: skip
    # The prior's part, weight / 2 times the squared code, is half its square in nats: 2 / (2 * weight) nats a unit.
    deviations = np.sqrt(np.diag(np.linalg.inv(hessian)) * weight)[2:]
    np.testing.assert_allclose(optimizer.pose_deviations(found, residuals), deviations, rtol=0.15)


@pytest.mark.parametrize("unknown", [(), (0, 1, 2, 3), (0, 1, 2, 3, 5), (0, 1, 2, 3, 4, 5, 6)])
def test_no_step_makes_the_fit_worse_and_steps_reach_the_bottom(unknown: tuple[int, ...]) -> None:
    decoder, space = EllipsoidDecoder().double(), CodeSpace.fit(training_codes())
    space = CodeSpace(mean=space.mean.double(), axes=space.axes.double())
    samples = observed_samples(ellipsoid_view(np.array([0.4, -0.9])).subsampled(2000, seed=0), seed=0)
    residuals = Residuals.draw(samples, SETTINGS, points=400, free=400, seed=0, like=LIKE)
    problem = FitProblem(
        decoder=decoder, space=space, samples=samples, settings=SETTINGS, prior_weight=1e-4, unknown=unknown
    )
    optimizer = LevenbergMarquardt(problem)
    small = torch.tensor([0.03, 0.02, -0.02, 0.01, 0.03, 0.02, -0.03]).double()
    small[[entry for entry in range(7) if entry not in unknown]] = 0.0
    guess = FitState(torch.zeros(2).double(), Pose.identity(LIKE).stepped(small), somewhere())
    objectives = [problem.evaluate(guess, residuals).objective]
    for _ in range(8):
        guess = optimizer.fit(guess, residuals, steps=1, relinearize_every=1)
        objectives.append(guess.objective)
    assert all(after <= before for before, after in itertools.pairwise(objectives))
    assert objectives[-1] < 0.05 * objectives[0]
    torch.testing.assert_close(guess.pose.rotation @ guess.pose.rotation.T, torch.eye(3).double())
