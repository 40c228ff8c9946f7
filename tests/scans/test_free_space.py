"""What is seen to be free, against what rays that meet a ball say by geometry; and where fitted shapes reach into
it."""

import numpy as np
import pytest
import torch
from helpers.ellipsoids import EllipsoidDecoder, PositiveDecoder
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.constraints import free_space_violations, violating_free_points
from shapeprior.completion.fitting import FitState, GaussianPrior, Pose
from shapeprior.completion.registry import load
from shapeprior.completion.view_refinement import ViewRefinementConfig
from shapeprior.datasets.procedural import synthesize
from shapeprior.evaluation.ground_truth import shape_view
from shapeprior.geometry.mesh import TriangleMesh, vertex_normals
from shapeprior.geometry.transforms import Similarity
from shapeprior.scans.free_space import CLEARANCE, END_MARGIN, FreeSpace
from shapeprior.scans.observation import Observation

BALL = 0.5
CODE = torch.tensor([0.3, -0.4])


def ball_view(*sensors: tuple[float, float, float], hit: bool = True) -> Observation:
    """A ball around 0, seen by rays on a fine grid of directions from each place."""
    points, origins, starts, directions = [], [], [], []
    for place in np.array(sensors, dtype=np.float64):
        toward = -place / np.linalg.norm(place)
        first = np.cross(toward, [0.1, 1.0, 0.2])
        first /= np.linalg.norm(first)
        second = np.cross(toward, first)
        across = np.stack(np.meshgrid(*2 * [np.linspace(-0.5, 0.5, 121)]), axis=-1).reshape(-1, 2)
        rays = toward + across @ np.stack([first, second])
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        along = -rays @ place
        inside = along**2 - place @ place + BALL**2
        met = inside > 0
        points.append(place + (along[met] - np.sqrt(inside[met]))[:, None] * rays[met])
        origins.append(np.broadcast_to(place, points[-1].shape))
        starts.append(np.broadcast_to(place, rays[~met].shape))
        directions.append(rays[~met])
    return Observation(
        points_world=np.concatenate(points),
        origins_world=np.concatenate(origins) if hit else None,
        background_origins=np.concatenate(starts) if hit else np.zeros((0, 3)),
        background_directions=np.concatenate(directions) if hit else np.zeros((0, 3)),
    )


def hidden_by(place: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of points: how far the way to them passes from the ball's middle, and how far they are behind where it meets the
    ball."""
    steps = points - place
    away = np.linalg.norm(steps, axis=1)
    units = steps / away[:, None]
    along = -units @ place
    beside = np.linalg.norm(place + along[:, None] * units, axis=1)
    met = along - np.sqrt(np.maximum(BALL**2 - beside**2, 0.0))
    return beside, away - met


@pytest.mark.parametrize("place", [(0.0, 0.3, 2.5), (2.0, 1.5, -1.0)])
def test_free_is_what_lies_before_the_ball_and_beside_it(place: tuple[float, float, float]) -> None:
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (40_000, 3))
    points = points[np.linalg.norm(points, axis=1) < 0.9]  # The corners are beside the outermost rays.
    free = FreeSpace.of(ball_view(place))(points)
    beside, behind = hidden_by(np.array(place), points)
    # Rays are 0.02 apart at the ball.
    truly = (beside > BALL) | (behind < 0.0)
    clearly = (beside > BALL + CLEARANCE + 0.06) | ((behind < -END_MARGIN - 0.06) & (beside < BALL - CLEARANCE - 0.06))
    assert not np.any(free & ~truly)
    assert np.all(free[clearly])
    assert 0.3 < np.mean(free) < np.mean(truly)


def test_one_sensor_is_enough_and_none_says_nothing() -> None:
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (5_000, 3))
    first, second = (0.0, 0.0, 2.5), (0.0, 0.0, -2.5)
    together = FreeSpace.of(ball_view(first, second))(points)
    alone = [FreeSpace.of(ball_view(place))(points) for place in (first, second)]
    assert np.array_equal(together, alone[0] | alone[1])
    assert not FreeSpace.of(ball_view(first, hit=False))(points).any()
    # A sensor that stood somewhere else for each point.
    view = ball_view(first)
    moved = Observation(
        points_world=view.points_world,
        origins_world=view.points_world + np.random.default_rng(1).normal(size=view.points_world.shape),
    )
    assert not FreeSpace.of(moved)(points).any()
    assert FreeSpace.of(view)(points[:0]).shape == (0,)


def test_a_few_wrong_rays_do_not_make_the_inside_free() -> None:
    view = ball_view((0.0, 0.0, 2.5))
    rng = np.random.default_rng(2)
    assert view.origins_world is not None
    wrong = rng.random(len(view.points_world)) < 0.1
    spoilt = np.where(
        wrong[:, None], view.origins_world + 2.0 * (view.points_world - view.origins_world), view.points_world
    )
    points = rng.normal(size=(5_000, 3))
    points *= 0.4 * rng.random((5_000, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.mean(FreeSpace.of(Observation(points_world=spoilt, origins_world=view.origins_world))(points)) < 0.002


class Ball(EllipsoidDecoder):
    """A ball, whatever the code is."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        del prepared
        return points_unit.norm(dim=-1) - self.radius


def guess_of(decoder: EllipsoidDecoder | PositiveDecoder, scale: float) -> FitState:
    """Of a view that is `scale` times as large in the unit frame, and turned."""
    angle = 0.7
    turn = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]).float()
    pose = Pose(torch.tensor(scale), turn, torch.zeros(3))
    expected = GaussianPrior(CODE, torch.ones(2), pose)
    return FitState(CODE, pose, expected, prepared=decoder.prepare(CODE[None]))


@pytest.mark.slow
def test_points_that_are_found_lie_in_the_shape_and_in_free_space() -> None:
    view, place = ball_view((0.0, 0.3, 2.5)), np.array([0.0, 0.3, 2.5])
    scale = 1.3
    large = Ball(scale * 0.65)  # 0.65 in the view's frame, where the true ball has 0.5.
    guess, seen = guess_of(large, scale), FreeSpace.of(view)
    found = free_space_violations(large, guess, CODE, seen, count=300, seed=0)
    assert len(found) == 300
    radii = np.linalg.norm(found, axis=1)
    assert radii.max() < 0.65 + 0.02
    assert radii.min() < 0.6  # Below the surface, too.
    beside, behind = hidden_by(place, found)
    assert np.all((beside > BALL) | (behind < 0.0))
    np.testing.assert_array_equal(free_space_violations(large, guess, CODE, seen, count=300, seed=0), found)
    right = Ball(scale * BALL)
    assert len(free_space_violations(right, guess_of(right, scale), CODE, seen, count=300, seed=0)) == 0
    nothing = PositiveDecoder()
    assert len(free_space_violations(nothing, guess_of(nothing, scale), CODE, seen, count=300, seed=0)) == 0
    free = np.random.default_rng(3).uniform(-0.9, 0.9, (20_000, 3))
    free = free[np.linalg.norm(free, axis=1) > BALL]
    filled = violating_free_points(large, guess, free, count=200, seed=0)
    assert len(filled) == 200
    assert np.all((np.linalg.norm(filled, axis=1) < 0.65 + 1e-6) & (np.linalg.norm(filled, axis=1) > BALL))
    assert len(violating_free_points(right, guess_of(right, scale), free, count=200, seed=0)) == 0
    assert len(violating_free_points(large, guess, free[:0], count=200, seed=0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["known", "upright"])
def test_airplanes_keep_out_of_what_was_seen_to_be_free(placement: str) -> None:
    """The share of the fitted surface that lies in free space falls by more than half.

    It is the surface by the code alone: the detail of the view moves it out of free space as well.
    """
    prior, shares = load("airplane"), {0: [], 4: []}
    for index in range(4):
        mesh = synthesize("airplane", seed=1, index=index)
        T_unit_world = Similarity.to_unit_sphere(mesh.vertices)
        mesh_unit = TriangleMesh(vertices=T_unit_world.apply(mesh.vertices), faces=mesh.faces)
        view = shape_view(mesh_unit, f"airplane_{index}", resolution=192, seed=0).observation
        for steps, found in shares.items():
            config = InferConfig(clearing_steps=steps, placed_clearing_steps=steps)
            known = {"T_unit_world": Similarity.identity()} if placement == "known" else {}
            by_code = ViewRefinementConfig(steps=0)
            done = prior.complete(view, placement=placement, resolution=96, infer=config, detail=by_code, **known)  # pyright: ignore[reportArgumentType]
            seen = FreeSpace.of(view)(done.mesh.vertices)
            areas = np.linalg.norm(vertex_normals(done.mesh), axis=1)
            found.append(float(areas[seen].sum() / areas.sum()))
    assert np.mean(shares[4]) < 0.5 * np.mean(shares[0])
