"""Whitened coordinates of codes: statistics of the training codes, and the way back.

Codes between codes: ends, even steps, lengths.

Nearest training shapes, against scipy's distance of Mahalanobis.
"""

import numpy as np
import pytest
import torch
from helpers.ellipsoids import ellipsoid_prior
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from shapeprior.completion.registry import load
from shapeprior.errors import ConfigError
from shapeprior.models.decoder import seeded
from shapeprior.models.latent_space import (
    INTERPOLATION_RANGE,
    MIN_DEVIATION_RATIO,
    NUM_NEIGHBOURS,
    CodePath,
    CodeSpace,
    codes_between_neighbours,
    interpolate_codes,
    nearest_shapes,
    sample_codes,
)


def codes_like_training(count: int, size: int = 6) -> Tensor:
    """Correlated, off-centre, of unequal spread."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.randn((size, size), generator=generator) * torch.logspace(0, -1, size)
    return torch.randn((count, size), generator=generator) @ mixing + torch.arange(size)


def test_whitened_training_codes_are_centred_with_unit_covariance() -> None:
    codes = codes_like_training(200)
    space = CodeSpace.fit(codes)
    whitened = space.whiten(codes).double()
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-4)
    covariance = whitened.T @ whitened / (len(codes) - 1)
    torch.testing.assert_close(covariance, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-3)


def test_length_is_the_distance_of_mahalanobis() -> None:
    codes = codes_like_training(200).double()
    space = CodeSpace.fit(codes.float())
    centred = codes - codes.mean(dim=0)
    inverse = torch.linalg.inv(centred.T @ centred / (len(codes) - 1))
    expected = torch.einsum("ni,ij,nj->n", centred, inverse, centred)
    found = space.whiten(codes.float()).double().square().sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 200])
def test_codes_and_whiten_are_inverse_whatever_the_number_of_shapes(count: int) -> None:
    codes = codes_like_training(count)
    space = CodeSpace.fit(codes)
    assert space.axes.shape == (6, 6)
    anywhere = torch.randn((9, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.whiten(space.codes(anywhere)), anywhere, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(space.codes(space.whiten(codes)), codes, rtol=1e-4, atol=1e-4)
    assert torch.equal(space.codes(torch.zeros(1, 6))[0], codes.mean(dim=0))


def test_with_fewer_shapes_than_dimensions_no_direction_is_closed() -> None:
    codes = codes_like_training(3)
    lengths = CodeSpace.fit(codes).axes.norm(dim=1)
    assert lengths.min() == pytest.approx(MIN_DEVIATION_RATIO * float(lengths.max()), rel=1e-4)
    spans = torch.linalg.svdvals((codes - codes.mean(dim=0)).double())[:2] / 2**0.5
    torch.testing.assert_close(lengths[:2].double(), spans, rtol=1e-4, atol=1e-5)


def test_identical_codes_and_a_single_one_still_have_directions() -> None:
    for codes in (torch.ones(5, 4), torch.ones(1, 4)):
        space = CodeSpace.fit(codes)
        assert torch.isfinite(space.whiten(codes)).all()
        assert (space.axes.norm(dim=1) > 0).all()
        torch.testing.assert_close(space.codes(torch.zeros(1, 4)), torch.ones(1, 4))


def test_many_shapes_need_no_matrix_of_all_pairs() -> None:
    """A full singular value decomposition of 60,000 shapes would ask for 29 GB."""
    space = CodeSpace.fit(codes_like_training(60_000, size=4))
    assert space.axes.shape == (4, 4)


def test_each_lies_between_a_code_and_one_of_its_neighbours() -> None:
    whitened = torch.randn(60, 5, generator=seeded(0)).double()
    found = codes_between_neighbours(whitened, 40, np.random.default_rng(0))
    assert found.shape == (40, 5)
    away = torch.cdist(whitened, whitened)
    ranks = away.argsort(dim=1).argsort(dim=1)  # 0 is the code itself.
    for code in found:
        # On a straight line between two points, the distances to its ends add up.
        both = (whitened - code).norm(dim=1)
        excess = both[:, None] + both[None] - away + torch.eye(60) * 9.0
        first, last = divmod(int(excess.argmin()), 60)
        assert excess[first, last] < 1e-9
        assert min(int(ranks[first, last]), int(ranks[last, first])) <= NUM_NEIGHBOURS
        share = float(both[first] / away[first, last])
        assert INTERPOLATION_RANGE[0] - 1e-9 <= share <= INTERPOLATION_RANGE[1] + 1e-9


def test_samples_lie_between_neighbours_in_the_units_of_codes() -> None:
    codes = codes_like_training(80, size=5)
    space = CodeSpace.fit(codes)
    found = sample_codes(space, codes, 30, seed=3)
    again, other = sample_codes(space, codes, 30, seed=3), sample_codes(space, codes, 30, seed=4)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    between = codes_between_neighbours(space.whiten(codes), 30, np.random.default_rng(3))
    torch.testing.assert_close(space.whiten(found), between, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shapes", "count"), [(5, 0), (5, -2), (1, 3)])
def test_samples_that_cannot_be_drawn_are_refused(shapes: int, count: int) -> None:
    codes = codes_like_training(5, size=5)
    with pytest.raises(ConfigError, match="expected at least"):
        sample_codes(CodeSpace.fit(codes), codes[:shapes], count, seed=0)


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_codes_there_is_nothing_between(count: int) -> None:
    assert codes_between_neighbours(torch.zeros(count, 3), 7, np.random.default_rng(0)).shape == (0, 3)


def test_two_equal_codes_have_themselves_between() -> None:
    assert torch.equal(codes_between_neighbours(torch.ones(2, 3), 4, np.random.default_rng(0)), torch.ones(4, 3))


GENERATOR = torch.Generator().manual_seed(0)
CODES = torch.randn((40, 6), generator=GENERATOR) * torch.logspace(0, -1, 6) + 3.0
SPACE = CodeSpace.fit(CODES)
PATHS: list[CodePath] = ["straight", "spherical"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_the_ends_are_the_codes_that_were_given(path: CodePath, steps: int) -> None:
    between = interpolate_codes(SPACE, CODES[0], CODES[1], steps=steps, path=path)
    assert between.shape == (steps, 6)
    assert torch.equal(between[0], CODES[0])
    assert torch.equal(between[-1], CODES[1])


@pytest.mark.parametrize("path", PATHS)
def test_steps_are_even_in_whitened_coordinates_and_reverse(path: CodePath) -> None:
    first, last = CODES[0], CODES[1]
    between = interpolate_codes(SPACE, first, last, steps=6, path=path)
    torch.testing.assert_close(interpolate_codes(SPACE, last, first, steps=6, path=path).flip(0), between)
    whitened = SPACE.whiten(between)
    if path == "straight":
        gaps = whitened.diff(dim=0).norm(dim=1)
        torch.testing.assert_close(gaps, gaps[0].expand(5), rtol=1e-3, atol=1e-4)
    else:
        angles = torch.nn.functional.cosine_similarity(whitened[:-1], whitened[1:]).acos()
        torch.testing.assert_close(angles, angles[0].expand(5), rtol=1e-3, atol=1e-3)


def test_the_straight_middle_is_the_mean_and_the_spherical_one_keeps_the_length() -> None:
    pair = CODES[:2]
    straight = interpolate_codes(SPACE, pair[0], pair[1], steps=3)[1]
    torch.testing.assert_close(straight, pair.mean(dim=0))
    spherical = interpolate_codes(SPACE, pair[0], pair[1], steps=3, path="spherical")[1]
    ends, middle = SPACE.whiten(pair).norm(dim=1), SPACE.whiten(spherical[None]).norm()
    assert float(middle) == pytest.approx(float(ends.mean()), rel=1e-3)
    assert float(SPACE.whiten(straight[None]).norm()) < float(middle)


def test_codes_on_one_line_with_the_mean_take_the_straight_way() -> None:
    offset = CODES[0] - SPACE.mean
    for last in (SPACE.mean, SPACE.mean - offset, SPACE.mean + 2 * offset, CODES[0]):
        spherical = interpolate_codes(SPACE, CODES[0], last, steps=5, path="spherical")
        straight = interpolate_codes(SPACE, CODES[0], last, steps=5)
        torch.testing.assert_close(spherical, straight, rtol=1e-3, atol=1e-3)


def test_fewer_than_two_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps"):
        interpolate_codes(SPACE, CODES[0], CODES[1], steps=1)


def test_the_ends_of_a_bundled_prior_are_the_meshes_of_the_codes() -> None:
    prior = load("can")
    between = prior.interpolate(prior.codes[0], prior.codes[1], steps=3)
    for code, own in ((between[0], prior.codes[0]), (between[-1], prior.codes[1])):
        mesh, expected = prior.extract(code, resolution=32), prior.extract(own, resolution=32)
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(mesh.faces, expected.faces)
    middle = prior.extract(between[1], resolution=32)
    assert middle.is_watertight


SKEWED_CODES = torch.randn((60, 4), generator=torch.Generator().manual_seed(0)) @ torch.tensor(
    [[2.0, 0.3, 0.0, 0.1], [0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.7, 0.2], [0.1, 0.0, 0.0, 0.5]]
)
IDS = tuple(f"shape_{row}" for row in range(60))


def test_order_and_distances_are_scipys() -> None:
    query = torch.tensor([0.3, -0.2, 0.5, 0.1])
    inverse = np.linalg.inv(np.cov(SKEWED_CODES.double().numpy().T))
    expected = np.array([mahalanobis(row, query.double().numpy(), inverse) for row in SKEWED_CODES.double().numpy()])
    found = nearest_shapes(CodeSpace.fit(SKEWED_CODES), SKEWED_CODES, IDS, query, count=7)
    assert [near.id for near in found] == [IDS[row] for row in np.argsort(expected)[:7]]
    np.testing.assert_allclose([near.distance for near in found], np.sort(expected)[:7], rtol=1e-3)


def test_a_training_code_is_nearest_to_itself() -> None:
    prior = load("camera")
    for row in (0, 7, 100):
        found = prior.nearest(prior.codes[row], count=3)
        assert found[0].id == prior.config.shape_ids[row]
        assert found[0].distance < 1e-3
        assert found[1].distance > 1.0


def test_more_than_there_are_are_all_and_none_is_refused() -> None:
    prior = ellipsoid_prior()
    assert len(prior.nearest(torch.zeros(2), count=100)) == len(prior.codes)
    # A tie keeps the order of training.
    tied = prior.nearest(torch.tensor([0.375, 0.0]), count=2)
    assert [near.distance for near in tied] == pytest.approx([tied[0].distance] * 2, rel=1e-4)
    with pytest.raises(ConfigError, match="count"):
        prior.nearest(torch.zeros(2), count=0)


def test_codes_of_numpy_and_of_torch_are_the_same_and_other_lengths_are_refused() -> None:
    prior = ellipsoid_prior()
    assert prior.nearest(np.array([0.4, -0.9])) == prior.nearest(torch.tensor([0.4, -0.9]))
    with pytest.raises(ConfigError, match="a code of shape"):
        prior.nearest(torch.zeros(3))
    with pytest.raises(ConfigError, match="no training shape 'x'"):
        prior.code("x")
