"""Samples of signed distance: where they lie, by statistics, and that their labels are exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_geometry import box, box_sdf, brute_force_distance, join, sphere, sphere_sdf
from scipy.stats import chisquare, kstest, norm

from shapeprior.clean import clean_mesh
from shapeprior.errors import ConfigError
from shapeprior.sampling import MAX_SAMPLES, SamplingConfig, SdfSamples, sample_sdf, uniform_in_ball
from shapeprior.signed_distance import SignedDistance

BALL = SignedDistance(sphere(radius=0.6, subdivisions=3))
BLOCK = SignedDistance(box(extents=(1.0, 0.6, 0.8)))


def draw(distance: SignedDistance, *, seed: int = 0, **settings: object) -> SdfSamples:
    return sample_sdf(distance, SamplingConfig(**settings), rng=np.random.default_rng(seed))  # type: ignore[arg-type]


def test_the_defaults_are_deepsdfs() -> None:
    config = SamplingConfig()
    # The released sampler: 47 of 50 near the surface, variances 0.0025 and 0.00025.
    assert config.near_share == 47 / 50
    assert config.variances == (0.0025, 0.00025)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), near_share=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_any_count_with_the_same_bytes_for_the_same_seed(seed: int, count: int, near_share: float) -> None:
    first = draw(BLOCK, seed=seed, count=count, near_share=near_share)
    second = draw(BLOCK, seed=seed, count=count, near_share=near_share)
    assert first.points_unit.shape == (count, 3)
    assert first.points_unit.dtype == first.sdf.dtype == np.float32
    assert first.points_unit.tobytes() == second.points_unit.tobytes()
    assert first.sdf.tobytes() == second.sdf.tobytes()
    assert np.isfinite(first.sdf).all()


def test_another_seed_gives_other_samples() -> None:
    assert not np.isin(draw(BLOCK, seed=1, count=50).sdf, draw(BLOCK, seed=2, count=50).sdf).any()


def test_labels_are_exact_for_the_rounded_points() -> None:
    samples = draw(BLOCK, count=2000)
    exact = box_sdf(samples.points_unit.astype(np.float64), extents=(1.0, 0.6, 0.8))
    # Half a unit in the last place of float32, and nothing for the points' own rounding.
    np.testing.assert_allclose(samples.sdf, exact, rtol=6e-8, atol=1e-12)
    np.testing.assert_array_equal(samples.sdf, exact.astype(np.float32))


def test_labels_agree_with_brute_force_on_open_meshes() -> None:
    mesh, _ = clean_mesh(join(sphere(radius=0.5, subdivisions=1)), name="a.obj")
    samples = draw(SignedDistance(mesh), count=500)
    found = np.abs(samples.sdf)
    np.testing.assert_allclose(found, brute_force_distance(mesh, samples.points_unit.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.94, 1.0])
def test_the_shares_of_near_and_uniform_samples(share: float) -> None:
    # A variance this small tells the two kinds apart.
    samples = draw(BALL, count=4000, near_share=share, variances=(1e-8,))
    near = np.abs(samples.sdf) < 1e-3
    # A thin shell of the ball holds some of the uniform ones.
    by_chance = (1 - share) * ((0.6 + 0.004) ** 3 - (0.6 - 0.005) ** 3)
    assert near.mean() == pytest.approx(share + by_chance / 2, abs=0.004)


def test_uniform_samples_fill_the_unit_ball() -> None:
    samples = draw(BALL, count=4000, near_share=0.0)
    radius = np.linalg.norm(samples.points_unit.astype(np.float64), axis=1)
    assert radius.max() <= 1.0 + 1e-6
    # The share of a ball's volume within a radius is its cube.
    assert kstest(radius, lambda r: np.clip(r, 0, 1) ** 3).pvalue > 1e-3
    octant = (samples.points_unit > 0) @ np.array([1, 2, 4])
    assert chisquare(np.bincount(octant, minlength=8)).pvalue > 1e-3


def test_uniform_in_ball_needs_no_samples() -> None:
    assert uniform_in_ball(0, rng=np.random.default_rng(0)).shape == (0, 3)


@pytest.mark.parametrize("variance", [0.0025, 0.00025])
def test_offsets_have_the_variance_asked_for(variance: float) -> None:
    # Beside a large flat face the distance is the offset's component along the normal: a normal distribution.
    slab = SignedDistance(box(extents=(40.0, 40.0, 1.0)))
    samples = draw(slab, count=4000, near_share=1.0, variances=(variance,))
    flat = np.abs(samples.points_unit[:, :2]).max(axis=1) < 19.0
    assert flat.mean() > 0.8
    height = samples.sdf[flat].astype(np.float64)
    assert kstest(height, norm(scale=np.sqrt(variance)).cdf).pvalue > 1e-3


def test_the_variances_share_the_samples_equally() -> None:
    slab = SignedDistance(box(extents=(40.0, 40.0, 1.0)))
    samples = draw(slab, count=6000, near_share=1.0, variances=(0.0025, 1e-10))
    height = np.abs(samples.sdf[np.abs(samples.points_unit[:, :2]).max(axis=1) < 19.0])
    tight = 1e-4
    # Of the wide ones, a few fall into the tight band by chance.
    by_chance = 0.5 * (2 * norm(scale=0.05).cdf(tight) - 1)
    assert np.mean(height < tight) == pytest.approx(0.5 + by_chance, abs=0.025)


def test_near_samples_are_uniform_over_the_surface() -> None:
    samples = draw(BLOCK, count=6000, near_share=1.0, variances=(1e-10,))
    extents = np.array([1.0, 0.6, 0.8])
    wall = np.argmin(np.abs(np.abs(samples.points_unit) - extents / 2), axis=1)
    areas = extents.prod() / extents
    assert chisquare(np.bincount(wall, minlength=3), 6000 * areas / areas.sum()).pvalue > 1e-3


def test_hidden_walls_are_not_sampled() -> None:
    mesh, _ = clean_mesh(join(sphere(radius=0.8), sphere(radius=0.3)), name="a.obj")
    samples = draw(SignedDistance(mesh), count=2000, near_share=1.0, variances=(1e-8,))
    assert np.linalg.norm(samples.points_unit, axis=1).min() > 0.7


def test_rows_are_shuffled() -> None:
    samples = draw(BALL, count=4000, near_share=0.5, variances=(0.01, 1e-10))
    kinds = np.digitize(np.abs(samples.sdf), [1e-4, 0.05])
    for block in np.split(kinds, 8):
        counts = np.bincount(block, minlength=3)
        expected = np.bincount(kinds, minlength=3) / 8
        assert chisquare(counts, expected).pvalue > 1e-4
    # Neither do the kinds take turns.
    repeats = np.mean(kinds[1:] == kinds[:-1])
    assert repeats == pytest.approx(np.sum((np.bincount(kinds) / len(kinds)) ** 2), abs=0.04)


def test_the_sphere_is_signed_as_convention_has_it() -> None:
    samples = draw(BALL, count=1000)
    exact = sphere_sdf(samples.points_unit.astype(np.float64), radius=0.6)
    clear = np.abs(exact) > 0.005
    np.testing.assert_array_equal(samples.sdf[clear] < 0, exact[clear] < 0)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"count": 0}, "count = 0"),
        ({"count": MAX_SAMPLES + 1}, "count = 500001"),
        ({"near_share": -0.1}, "near_share = -0.1"),
        ({"near_share": 1.1}, "near_share = 1.1"),
        ({"near_share": float("nan")}, "near_share = nan"),
        ({"variances": ()}, r"variances = \(\)"),
        ({"variances": (0.1, 0.0)}, "variances"),
        ({"variances": (-1.0,)}, "variances"),
        ({"variances": (float("nan"),)}, "variances"),
        ({"variances": (float("inf"),)}, "variances"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, found: str) -> None:
    with pytest.raises(ConfigError, match=f"{found}.*expected"):
        SamplingConfig(**change)


def test_the_largest_count_is_allowed() -> None:
    assert SamplingConfig(count=MAX_SAMPLES).count == 500_000
