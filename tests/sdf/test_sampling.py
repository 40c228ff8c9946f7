"""SDF samples: counts by strategy, exact distances of the stored points, shuffled rows, fixed bytes."""

import numpy as np
import pytest
from helpers.plain_geometry import box, box_sdf, brute_force_distance, keep, sphere, sphere_sdf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from shapeprior.config import config_from_json, config_to_json
from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.cleaning import clean_mesh
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.sdf.sampling import MAX_SAMPLES, STRATEGIES, SamplingConfig, SdfSamples, parse_counts, sample_sdf
from shapeprior.sdf.signed_distance import SignedDistance
from shapeprior.sdf.strategies import NearSurface, StrategySettings

EXTENTS = (1.0, 0.6, 0.8)
BALL = SignedDistance(sphere(radius=0.6, subdivisions=3))
BLOCK = SignedDistance(box(extents=EXTENTS))
ALL = {"near": 300, "uniform": 100, "edges": 80, "rays": 120, "walls": 90, "surface": 60}


def draw(distance: SignedDistance, *, seed: int = 0, **settings: object) -> SdfSamples:
    config = SamplingConfig(**{"near": 0, "uniform": 0, **settings})  # type: ignore[arg-type]
    return sample_sdf(distance, config, rng=np.random.default_rng(seed))


def of(samples: SdfSamples, strategy: str) -> np.ndarray:
    """Return the points of one strategy, sorted, as samples are shuffled."""
    points = samples.points_unit[samples.strategy == STRATEGIES.index(strategy)]
    return points[np.lexsort(points.T)]


# Counts.


def test_the_default_is_deepsdfs_mix() -> None:
    assert SamplingConfig() == SamplingConfig.deepsdf(10_000)
    assert (SamplingConfig().near, SamplingConfig().uniform, SamplingConfig().count) == (9_400, 600, 10_000)


@given(count=st.integers(1, MAX_SAMPLES))
@settings(max_examples=50)
def test_deepsdfs_mix_has_47_of_50_near(count: int) -> None:
    config = SamplingConfig.deepsdf(count)
    assert config.count == config.near + config.uniform == count
    assert abs(config.near - count * 47 / 50) <= 0.5


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    counts=st.fixed_dictionaries({name: st.integers(0, 30) for name in (*STRATEGIES, "surface")}),
    dtype=st.sampled_from(["float16", "float32"]),
)
@example(seed=0, counts=dict.fromkeys(STRATEGIES, 0) | {"rays": 1, "surface": 1}, dtype="float16")
@settings(max_examples=30, deadline=None)
def test_counts_are_exact_and_the_same_seed_gives_the_same_bytes(seed: int, counts: dict, dtype: str) -> None:
    if not any(counts[name] for name in STRATEGIES):
        counts = counts | {"near": 1}
    first = draw(BLOCK, seed=seed, dtype=dtype, **counts)
    second = draw(BLOCK, seed=seed, dtype=dtype, **counts)
    assert np.bincount(first.strategy, minlength=len(STRATEGIES)).tolist() == [counts[name] for name in STRATEGIES]
    assert first.points_unit.shape == (len(first.sdf), 3)
    assert first.points_unit.dtype == first.sdf.dtype == dtype
    for name in ("points_unit", "sdf", "strategy"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    if counts["surface"] == 0:
        assert first.surface is second.surface is None
    else:
        assert first.surface is not None
        assert second.surface is not None
        assert first.surface.points_unit.shape == first.surface.normals_unit.shape == (counts["surface"], 3)
        assert first.surface.points_unit.tobytes() == second.surface.points_unit.tobytes()
        assert first.surface.normals_unit.tobytes() == second.surface.normals_unit.tobytes()


def test_another_seed_gives_other_samples() -> None:
    assert not np.isin(draw(BLOCK, seed=1, near=50).sdf, draw(BLOCK, seed=2, near=50).sdf).all()
    first, second = (draw(BLOCK, seed=seed, near=50, dtype="float32") for seed in (1, 2))
    assert not np.isin(first.sdf, second.sdf).any()


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_strategy_draws_does_not_depend_on_the_others(name: str) -> None:
    alone = draw(BLOCK, **{name: ALL[name]})
    together = draw(BLOCK, **ALL)
    assert of(alone, name).tobytes() == of(together, name).tobytes()


def test_strategies_share_no_random_numbers() -> None:
    # A ball has no edges, so that both strategies draw near its surface in the same way.
    samples = draw(BALL, near=200, edges=200, dtype="float32")
    assert not np.isin(of(samples, "edges"), of(samples, "near")).any()


def test_the_surface_does_not_depend_on_the_others() -> None:
    alone, together = draw(BLOCK, uniform=1, surface=60).surface, draw(BLOCK, **ALL).surface
    assert alone is not None
    assert together is not None
    assert alone.points_unit.tobytes() == together.points_unit.tobytes()


def test_strategies_are_numbered_in_a_fixed_order() -> None:
    # Files hold these indices, so new names must go to the end.
    assert SamplingConfig().strategies == STRATEGIES == ("near", "uniform", "edges", "rays", "walls")
    samples = draw(BALL, uniform=10, rays=10)
    assert set(samples.strategy.tolist()) == {1, 3}


def test_settings_reach_their_strategy() -> None:
    # With a variance this small, near samples differ clearly from uniform ones.
    tight = StrategySettings(near=NearSurface(variances=(1e-10,)))
    samples = draw(BALL, near=3000, uniform=1000, settings=tight, dtype="float32")
    assert np.abs(samples.sdf[samples.strategy == 0]).max() < 1e-3
    assert np.mean(np.abs(samples.sdf[samples.strategy == 1]) < 1e-3) < 0.05


# Distances.


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"),
    # The bound is half a unit in the last place of the distance; the points' own rounding adds nothing to it.
    [("float16", 2.0**-11, 2.0**-25), ("float32", 2.0**-24, 1e-16)],
)
def test_labels_are_exact_for_the_stored_points(dtype: str, relative: float, absolute: float) -> None:
    samples = draw(BLOCK, **ALL, dtype=dtype)
    exact = box_sdf(samples.points_unit.astype(np.float64), extents=EXTENTS)
    clear = np.abs(exact) > 1e-12
    np.testing.assert_allclose(samples.sdf[clear], exact[clear], rtol=relative, atol=absolute)
    np.testing.assert_array_equal(samples.sdf[clear], exact[clear].astype(dtype))
    np.testing.assert_array_equal(np.sign(samples.sdf[clear]), np.sign(exact[clear]))


def test_points_are_rounded_before_they_are_measured() -> None:
    # The distances of the points before rounding would be off by more than the distances' own rounding.
    samples = draw(BALL, near=2000)
    points = samples.points_unit.astype(np.float64)
    np.testing.assert_array_equal(samples.sdf, BALL(points).astype(np.float16))
    finer = draw(BALL, near=2000, dtype="float32")
    np.testing.assert_array_equal(samples.points_unit, finer.points_unit.astype(np.float16))
    rounding = np.abs(finer.sdf.astype(np.float64) - BALL(points))
    assert rounding.mean() > 5 * np.abs(samples.sdf.astype(np.float64) - BALL(points)).mean()


class _Tiny(SignedDistance):
    """A field with distances too small for float16, of both signs, and a zero."""

    def __call__(self, points_unit: np.ndarray) -> np.ndarray:
        sizes = np.array([1e-9, -1e-9, 0.0, 3e-8, -3e-8, 1e-7, -1e-7, 5e-324, -5e-324, 0.25])
        return np.resize(sizes, len(points_unit))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_distances_that_vanish_keep_their_sign(dtype: str) -> None:
    samples = draw(_Tiny(box(extents=EXTENTS)), uniform=10, dtype=dtype)
    assert np.sign(samples.sdf).tolist() == [1, -1, 0, 1, -1, 1, -1, 1, -1, 1]
    smallest = np.finfo(dtype).smallest_subnormal
    assert abs(samples.sdf[7]) == abs(samples.sdf[8]) == smallest
    assert np.abs(samples.sdf[samples.sdf != 0]).min() == smallest
    assert samples.sdf[9] == 0.25


def test_points_in_float16_stay_within_their_rounding_of_the_ball() -> None:
    radius = np.linalg.norm(draw(BALL, uniform=4000).points_unit.astype(np.float64), axis=1)
    assert radius.max() <= 1.0 + 2.0**-11


def test_labels_agree_with_brute_force_on_open_meshes() -> None:
    solid = sphere(radius=0.5, subdivisions=1)
    mesh, _ = clean_mesh(keep(solid, np.arange(len(solid.faces)) > 0), name="a.obj")
    samples = draw(SignedDistance(mesh), near=500, dtype="float32")
    exact = brute_force_distance(mesh, samples.points_unit.astype(np.float64))
    np.testing.assert_allclose(np.abs(samples.sdf), exact, rtol=1e-6)


def test_the_sphere_is_signed_as_convention_has_it() -> None:
    samples = draw(BALL, **ALL)
    exact = sphere_sdf(samples.points_unit.astype(np.float64), radius=0.6)
    clear = np.abs(exact) > 0.005
    np.testing.assert_array_equal(samples.sdf[clear] < 0, exact[clear] < 0)


def test_stored_surface_points_are_at_zero_with_unit_normals() -> None:
    surface = draw(BLOCK, uniform=1, surface=500).surface
    assert surface is not None
    assert surface.points_unit.dtype == surface.normals_unit.dtype == np.float32
    points, normals = surface.points_unit.astype(np.float64), surface.normals_unit.astype(np.float64)
    assert np.abs(box_sdf(points, extents=EXTENTS)).max() < 1e-7
    # The normal of a box is along the axis across the wall that the point lies on.
    axis = np.argmin(np.abs(np.abs(points) - np.array(EXTENTS) / 2), axis=1)
    expected = np.eye(3)[axis] * np.sign(np.take_along_axis(points, axis[:, None], axis=1))
    np.testing.assert_allclose(normals, expected, atol=1e-7)


# Order.


def test_rows_are_shuffled_over_all_strategies() -> None:
    samples = draw(BALL, near=2000, uniform=1000, edges=500, rays=500)
    shares = np.bincount(samples.strategy, minlength=4) / 4000
    for block in np.split(samples.strategy, 8):
        assert chisquare(np.bincount(block, minlength=4), 500 * shares).pvalue > 1e-4
    # The strategies must not take turns either.
    repeats = np.mean(samples.strategy[1:] == samples.strategy[:-1])
    assert repeats == pytest.approx(np.sum(shares**2), abs=0.04)


# Refusals.


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"near": 0, "uniform": 0}, "0 samples a shape and 0 of its surface"),
        ({"near": 0, "uniform": 0, "surface": 10}, "0 samples a shape and 10 of its surface"),
        ({"near": MAX_SAMPLES}, "500600 samples"),
        ({"near": MAX_SAMPLES - 600, "surface": 1}, "500000 samples a shape and 1 of its surface"),
        ({"near": -1}, "near = -1"),
        ({"edges": -5}, "edges = -5"),
        ({"surface": -5}, "surface = -5"),
        ({"dtype": "float64"}, "dtype = 'float64'"),
    ],
)
def test_counts_out_of_range_are_refused(change: dict, found: str) -> None:
    with pytest.raises(ConfigError, match=f"{found}.*expected"):
        config_from_json(SamplingConfig, config_to_json(SamplingConfig()) | change, where="a.json")


def test_an_unknown_type_is_refused_where_types_are_not_checked() -> None:
    config = SamplingConfig()
    object.__setattr__(config, "dtype", "half")  # This gets past the type checks that run in tests.
    with pytest.raises(ConfigError, match="dtype = 'half'; expected one of 'float16', 'float32'"):
        config.__post_init__()


def test_the_largest_count_is_allowed() -> None:
    assert SamplingConfig(near=MAX_SAMPLES - 600).count == SamplingConfig.deepsdf(MAX_SAMPLES).count == 500_000


def test_a_shape_without_area_is_refused() -> None:
    distance = SignedDistance(box())
    distance.surface = TriangleMesh(vertices=np.zeros((3, 3)), faces=np.zeros((0, 3), dtype=np.int64))
    with pytest.raises(MeshError, match="cannot draw points"):
        draw(distance, near=10)


# Text of the command line, and JSON.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10000", SamplingConfig()),
        (" 500 ", SamplingConfig.deepsdf(500)),
        ("near=9400,uniform=600", SamplingConfig()),
        ("near=9400,edges=1000", SamplingConfig(near=9400, uniform=0, edges=1000)),
        ("rays = 7 , surface=3", SamplingConfig(near=0, uniform=0, rays=7, surface=3)),
    ],
)
def test_counts_are_read_from_text(text: str, expected: SamplingConfig) -> None:
    assert parse_counts(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "samples '': expected a number, or counts such as .*; found ''"),
        ("many", "samples 'many': expected a number, or counts such as .*; found 'many'"),
        ("1e4", "samples '1e4': expected a number"),
        ("near=x", "samples 'near=x': expected a number, .* found 'x'"),
        ("nera=5", "unknown strategy 'nera'; did you mean 'near'"),
        ("zebra=5", "unknown strategy 'zebra'; expected .* of near, uniform, edges, rays, walls, surface"),
        ("near=5,", "unknown strategy ''; expected"),
        ("near=5,near=6", "near is given twice"),
        ("near=-5", "near = -5"),
        ("0", "0 samples a shape"),
        ("surface=5", "0 samples a shape and 5 of its surface; expected"),
        ("500001", "500001 samples a shape"),
    ],
)
def test_text_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_counts(text)


def test_json_holds_all_of_it() -> None:
    config = SamplingConfig(edges=3, settings=StrategySettings(near=NearSurface(variances=(0.01,))), dtype="float32")
    value = config_to_json(config)
    assert value["near"] == 9_400
    assert value["settings"]["near"] == {"variances": [0.01]}
    assert config_from_json(SamplingConfig, value, where="a.json") == config
