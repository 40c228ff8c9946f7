"""Nearest training shapes, against scipy's distance of Mahalanobis."""

import numpy as np
import pytest
import torch
from ellipsoids import ellipsoid_prior
from scipy.spatial.distance import mahalanobis

from shapeprior.completion.registry import load
from shapeprior.errors import ConfigError
from shapeprior.models.latent_space import CodeSpace, nearest_shapes

CODES = torch.randn((60, 4), generator=torch.Generator().manual_seed(0)) @ torch.tensor(
    [[2.0, 0.3, 0.0, 0.1], [0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.7, 0.2], [0.1, 0.0, 0.0, 0.5]]
)
IDS = tuple(f"shape_{row}" for row in range(60))


def test_order_and_distances_are_scipys() -> None:
    query = torch.tensor([0.3, -0.2, 0.5, 0.1])
    inverse = np.linalg.inv(np.cov(CODES.double().numpy().T))
    expected = np.array([mahalanobis(row, query.double().numpy(), inverse) for row in CODES.double().numpy()])
    found = nearest_shapes(CodeSpace.fit(CODES), CODES, IDS, query, count=7)
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
