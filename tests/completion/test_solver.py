"""The solver on an analytic decoder, whose codes are half axes: what it finds can be compared with the truth."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.ellipsoids import LONG, EllipsoidDecoder, axes_of, ellipsoid_prior, ellipsoid_view, training_codes
from scipy.spatial.transform import Rotation
from torch import Tensor

from shapeprior.completion.config import InferConfig
from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.registry import load
from shapeprior.completion.solver import LatentSolver
from shapeprior.errors import CompletionError, ConfigError, ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.decoder import Decoder, FieldJacobian
from shapeprior.models.encoder import EncoderConfig, EncoderOutput, ViewEncoder
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode

IDENTITY = Similarity.identity()
CONFIG = InferConfig()


def solve(
    view: Observation,
    placement: Similarity | None = IDENTITY,
    *,
    mode: PlacementMode | None = None,
    decoder: Decoder | None = None,
    codes: Tensor | None = None,
    seed: int = 0,
    **fields: float,
) -> LatentEstimate:
    solver = LatentSolver(decoder or EllipsoidDecoder(), training_codes() if codes is None else codes)
    mode = mode or ("aligned" if placement is None else "known")
    config = dataclasses.replace(CONFIG, **fields)
    return solver.infer(view, T_unit_world=placement, mode=mode, seed=seed, config=config)


@pytest.mark.parametrize("code", [(0.4, -0.9), (-1.2, 1.1), (0.0, 0.0)])
def test_a_one_sided_view_gives_the_code_back(code: tuple[float, float]) -> None:
    """0.02 in the code is 0.003 radii of a half axis."""
    estimate = solve(ellipsoid_view(np.array(code)))
    np.testing.assert_allclose(estimate.code.numpy(), code, atol=0.02)
    assert estimate.residual < 0.001
    assert estimate.explained > 0.99
    assert estimate.T_unit_world is IDENTITY


class CarefulDecoder(EllipsoidDecoder):
    """Takes nothing prepared but what belongs to the code."""

    asked = 0

    def jacobian(
        self,
        code: Tensor,
        tangents: tuple[Tensor, ...],
        points_unit: Tensor,
        *,
        prepared: tuple[Tensor, ...] | None = None,
    ) -> FieldJacobian:
        assert prepared is not None
        assert torch.equal(prepared[0], self.prepare(code[None])[0])
        self.asked += 1
        return super().jacobian(code, tangents, points_unit)


@pytest.mark.slow
@pytest.mark.parametrize("placement", [IDENTITY, None])
def test_the_solver_hands_on_what_it_has_prepared_of_each_code(placement: Similarity | None) -> None:
    decoder = CarefulDecoder()
    solve(ellipsoid_view(np.array([0.4, -0.9])), placement, decoder=decoder, starts=3)
    assert decoder.asked > 5


def test_steps_go_on_while_they_gain_and_no_longer() -> None:
    code = np.array([2.5, -2.5])
    far, steps = {}, {}
    for most in (1, 20):
        decoder = CarefulDecoder()
        found = solve(ellipsoid_view(code), decoder=decoder, steps=1, max_steps=most, clearing_steps=0)
        far[most], steps[most] = float(np.abs(found.code.numpy() - code).max()), decoder.asked
    assert far[1] > 0.2
    assert far[20] < 0.5 * far[1]
    assert 1 == steps[1] < steps[20] < 12


def test_a_code_beyond_the_training_codes_is_reached() -> None:
    estimate = solve(ellipsoid_view(np.array([2.2, -2.2])))  # The training codes end at 1.5.
    np.testing.assert_allclose(estimate.code.numpy(), [2.2, -2.2], atol=0.1)


IN_MILLIMETRES = Similarity(scale=85.0, rotation=np.eye(3), offset=np.array([300.0, -120.0, 40.0]))


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "tolerance"), [(6, 0.03), (30, 0.015)])
@pytest.mark.parametrize(("code", "T_world_unit"), [((0.4, -0.9), IDENTITY), ((-0.6, 0.3), IN_MILLIMETRES)])
def test_with_unknown_placement_scale_and_offset_are_found_too(
    code: tuple[float, float], T_world_unit: Similarity, steps: int, tolerance: float
) -> None:
    view = ellipsoid_view(np.array(code)).transformed(T_world_unit)
    estimate = solve(view, None, steps=steps)
    found = estimate.T_unit_world.inverse()
    half_axes = found.scale * axes_of(estimate.code.double().numpy()) / T_world_unit.scale
    np.testing.assert_allclose(half_axes, axes_of(np.array(code)), atol=tolerance)
    assert found.scale == pytest.approx(T_world_unit.scale, rel=tolerance)
    np.testing.assert_allclose((found.offset - T_world_unit.offset) / T_world_unit.scale, 0.0, atol=tolerance)
    assert estimate.residual < 0.01


@pytest.mark.slow
def test_without_a_sensor_points_alone_decide() -> None:
    code = np.array([0.5, -0.5])
    directions = np.random.default_rng(0).standard_normal((2000, 3))
    points = axes_of(code) * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = points[points[:, 2] > -0.1]  # One side.
    estimate = solve(Observation.from_points(points))
    # Without normals there is no shell, whose two sides would pull the surface to and fro.
    np.testing.assert_allclose(estimate.code.numpy(), code, atol=0.02)
    unplaced = solve(Observation.from_points(points), None)
    assert unplaced.residual < 0.03  # What lies behind is anybody's guess; what was seen is explained.


def test_stray_points_do_not_decide() -> None:
    """One point in ten lies off the surface; Huber's loss counts them, but not squared."""
    code = np.array([0.5, -0.5])
    view = ellipsoid_view(code)
    rng = np.random.default_rng(0)
    points, stray = view.points_world.copy(), rng.random(len(view.points_world)) < 0.1
    points[stray] += rng.normal(0.0, 0.1, size=(int(stray.sum()), 3))
    estimate = solve(dataclasses.replace(view, points_world=points))
    np.testing.assert_allclose(estimate.code.numpy(), code, atol=0.25)


def test_free_space_speaks_where_no_point_does() -> None:
    """Points on the top only: the sides are known by the rays that passed them."""
    code = np.array([-1.0, -1.0])
    view = ellipsoid_view(code)
    cap = view.points_world[:, 1] > 0.85 * LONG
    assert view.origins_world is not None
    points = dataclasses.replace(
        view,
        points_world=view.points_world[cap] * [1.0, 0.0, 1.0] + [0.0, LONG, 0.0],
        origins_world=view.origins_world[cap],
    )
    ignored = solve(points, free_weight=0.0).code
    heard = solve(points, free_weight=3.0).code
    assert heard.sum() < ignored.sum() - 0.2  # Thinner.


def test_the_prior_pulls_to_the_mean_code() -> None:
    view = ellipsoid_view(np.array([1.2, -1.2]))
    lengths = [float(solve(view, prior_weight=weight).code.norm()) for weight in (0.0, 0.01, 1.0)]
    assert lengths[0] > lengths[1] > lengths[2]
    assert lengths[2] < 0.3


class WrongEncoder(ViewEncoder):
    """Sure of one code, whatever it is shown."""

    def __init__(self, whitened: Tensor) -> None:
        super().__init__(EncoderConfig(code_size=2))
        self.whitened = whitened

    def forward(self, points_view: Tensor, sensors_view: Tensor) -> EncoderOutput:
        count = len(sensors_view)
        assert len(points_view) == count
        return EncoderOutput(
            whitened=self.whitened.expand(count, -1),
            whitened_deviation=torch.full((count, 2), 0.02),
            placement=torch.zeros(count, 4),
            placement_deviation=torch.ones(count, 4),
            turns=torch.zeros(count, 36),
            upright=torch.zeros(count),
        )


def test_an_encoder_that_is_wrong_and_sure_is_not_believed_in_the_end() -> None:
    code = np.array([1.2, -1.2])
    view, wrong = ellipsoid_view(code), torch.tensor([-1.0, 1.0])
    far = []
    for steps in (0, CONFIG.clearing_steps):
        solver = LatentSolver(EllipsoidDecoder(), training_codes(), WrongEncoder(wrong))
        config = dataclasses.replace(CONFIG, clearing_steps=steps)
        found = solver.infer(view, T_unit_world=IDENTITY, mode="known", seed=0, config=config)
        far.append(float(np.abs(found.code.numpy() - code).max()))
    assert far[0] > 0.08  # What it says pulls while the search goes on from it.
    assert far[1] < 0.02


@pytest.mark.slow
def test_where_the_placement_is_unknown_the_prior_has_a_weight_of_its_own() -> None:
    view = ellipsoid_view(np.array([1.2, -1.2]))

    def length(mode: PlacementMode, **weights: float) -> float:
        placement = Similarity.identity() if mode == "known" else None
        return float(solve(view, placement, mode=mode, **weights).code.norm())

    heavy = {"prior_weight": 1.0}, {"placed_prior_weight": 1.0}
    assert length("known", **heavy[0]) < 0.3 < 1.0 < length("known", **heavy[1])
    assert length("aligned", **heavy[1]) < 0.5 * length("aligned", **heavy[0])


@pytest.mark.slow
def test_filling_the_sphere_does_not_make_a_placement_better_known() -> None:
    view = ellipsoid_view(np.array([0.4, -0.9]))
    stated = []
    for steps in (0, 5):
        found = solve(view, None, mode="aligned", renormalization_steps=steps).deviations
        assert found is not None
        stated.append(found.scale)
    assert stated[1] == pytest.approx(stated[0], rel=0.15)


def test_the_decoder_is_left_as_it_was() -> None:
    decoder = EllipsoidDecoder()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in decoder.parameters()]
    assert wanted == [True, False]
    view = ellipsoid_view(np.zeros(2))
    solve(view, decoder=decoder)
    assert [parameter.requires_grad for parameter in decoder.parameters()] == wanted
    assert all(parameter.grad is None for parameter in decoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


@pytest.mark.slow
def test_the_same_seed_is_the_same_code_whatever_torch_drew_before() -> None:
    view = ellipsoid_view(np.array([0.4, -0.9]))
    first = solve(view, None, seed=3)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    again, other = solve(view, None, seed=3), solve(view, None, seed=4)
    torch.set_rng_state(state)
    assert torch.equal(first.code, again.code)
    assert first.T_unit_world.to_json() == again.T_unit_world.to_json()
    assert not torch.equal(first.code, other.code)


class PartlyBroken(EllipsoidDecoder):
    """NaN for codes whose first entry is above a bound."""

    bound = 0.5

    def query(self, prepared: tuple[Tensor, ...], points_unit: Tensor) -> Tensor:
        (axes,) = prepared
        broken = axes[:, :1] > 0.55 + 0.15 * self.bound
        return torch.where(broken, torch.nan, super().query(prepared, points_unit))


@pytest.mark.parametrize("seed", range(6))
def test_codes_without_a_number_lose(seed: int) -> None:
    """Whatever order the candidates come in, those that give NaN are not chosen; here they are four of five."""
    view, decoder = ellipsoid_view(np.array([-1.4, 0.4]), resolution=32), PartlyBroken()
    decoder.bound = -1.0
    codes = training_codes()[torch.randperm(25, generator=torch.Generator().manual_seed(seed))]
    estimate = solve(view, decoder=decoder, codes=codes, starts=25, survivors=25)
    np.testing.assert_allclose(estimate.code.numpy(), [-1.4, 0.4], atol=0.1)


def test_no_finite_start_is_a_completion_error() -> None:
    decoder = PartlyBroken()
    decoder.bound = -9.0
    with pytest.raises(CompletionError, match="every start"):
        solve(ellipsoid_view(np.zeros(2)), decoder=decoder)


@pytest.mark.parametrize(("starts", "kept"), [(1, 1), (2, 9), (30, 1)])
def test_any_number_of_starts_works(starts: int, kept: int) -> None:
    estimate = solve(ellipsoid_view(np.array([0.4, -0.9])), starts=starts, survivors=kept)
    np.testing.assert_allclose(estimate.code.numpy(), [0.4, -0.9], atol=0.06)


def test_a_single_training_code_is_enough_to_start() -> None:
    view = ellipsoid_view(np.array([0.4, -0.9]))
    estimate = solve(view, codes=torch.zeros(1, 2))
    np.testing.assert_allclose(estimate.code.numpy(), [0.4, -0.9], atol=0.06)


@pytest.mark.parametrize(
    "field", ["starts", "steps", "points", "relinearize_every", "huber", "shell", "prior_weight", "placed_prior_weight"]
)
def test_settings_outside_their_range_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = -1"):
        dataclasses.replace(CONFIG, **{field: -1 if isinstance(getattr(CONFIG, field), int) else -1.0})


def turned(
    code: np.ndarray, turn: Rotation, *, scale: float, offset: tuple[float, ...]
) -> tuple[Observation, Similarity]:
    """A view of an ellipsoid that lies somewhere, and T_world_unit."""
    T_world_unit = Similarity(scale=scale, rotation=turn.as_matrix(), offset=np.array(offset))
    return ellipsoid_view(code).transformed(T_world_unit), T_world_unit


@pytest.mark.slow
@pytest.mark.parametrize("yaw", [20.0, 75.0, 160.0, 250.0])
def test_an_unknown_turn_about_the_up_axis_is_found_up_to_symmetry(yaw: float) -> None:
    code = np.array([1.1, -1.3])
    view, T_world_unit = turned(code, Rotation.from_euler("y", yaw, degrees=True), scale=1.2, offset=(0.3, -0.1, 0.2))
    estimate = solve(view, None, mode="upright")
    found = estimate.T_unit_world.inverse()
    assert estimate.residual < 0.003
    assert found.scale == pytest.approx(1.2, rel=0.03)
    np.testing.assert_allclose(found.offset, T_world_unit.offset, atol=0.03)
    # The up axis stays. An ellipsoid is the same after half a turn, and after a quarter with its axes exchanged.
    np.testing.assert_allclose(found.rotation[1], [0.0, 1.0, 0.0], atol=1e-6)
    between = (found.rotation.T @ T_world_unit.rotation)[:, 0]
    angle = np.degrees(np.arctan2(between[2], between[0])) % 90.0
    assert min(angle, 90.0 - angle) < 3.0


@pytest.mark.slow
def test_any_unknown_turn_is_found() -> None:
    code = np.array([1.1, -1.3])
    turn = Rotation.from_rotvec([0.9, -0.7, 1.4])
    view, T_world_unit = turned(code, turn, scale=0.8, offset=(0.1, 0.2, -0.3))
    estimate = solve(view, None, mode="free")
    found = estimate.T_unit_world.inverse()
    assert estimate.residual < 0.003
    # Which axis is which is not decided by the shape: the extents along the true axes are.
    axes = axes_of(estimate.code.double().numpy()) * found.scale
    tips = (T_world_unit.rotation.T @ found.rotation * axes) ** 2
    np.testing.assert_allclose(np.sqrt(tips.sum(axis=1)), 0.8 * axes_of(code), atol=0.05)


@pytest.mark.slow
def test_a_placement_of_no_kind_is_refused() -> None:
    """As users see it, whose calls are not checked for their types."""
    code = "from shapeprior import load, Observation; import numpy as np; "
    code += "load('mug').complete(Observation.from_points(np.eye(3)), placement='auto')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigError: placement 'auto'; expected one of known, aligned, upright, free" in done.stderr


@pytest.mark.parametrize("prior", ["ellipsoid", "mug"])
def test_points_in_one_place_show_no_size(prior: str) -> None:
    points = np.tile([412_345.0, 5_412_345.0, 123.0], (500, 1))
    some = points + np.random.default_rng(0).normal(size=points.shape) * (np.arange(500) < 60)[:, None]
    asked = load("mug") if prior == "mug" else ellipsoid_prior()
    for mode in ("aligned", "upright", "free"):
        with pytest.raises(ScanError, match="all 500 points lie in one place"):
            asked.infer(Observation.from_points(points), placement=mode)
        # As a cloud whose missing returns were written as one point, of which the others are the strays.
        with pytest.raises(ScanError, match="all 440 points lie in one place"):
            asked.infer(Observation.from_points(some), placement=mode)


def test_a_known_placement_must_be_given() -> None:
    with pytest.raises(ConfigError, match="known placement was asked for and none given"):
        solve(ellipsoid_view(np.zeros(2)), None, mode="known")
