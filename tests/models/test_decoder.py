"""A decoder's field by points in NumPy against the decoder itself."""

import numpy as np
import pytest
import torch
from helpers.ellipsoids import ellipsoid_prior

from shapeprior.models.decoder import QUERY_POINTS, DecodedField
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder

CONFIG = TriplaneConfig(code_size=8, base=4, channels=(6, 4), width=16, volume=8)


@pytest.mark.parametrize("count", [0, 1, 2, 1000, QUERY_POINTS + 1, 2 * QUERY_POINTS + 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values_are_the_decoders_however_the_points_are_shared_out(
    count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    decoder = TriplaneDecoder(CONFIG, seed=0)
    code = torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    points = np.random.default_rng(2).uniform(-1.1, 1.1, size=(count, 3))
    with torch.no_grad():
        field = DecodedField(decoder, decoder.prepare(code))
    # With gradients the decoder takes another way to the same values.
    expected = decoder(code, torch.from_numpy(points).float()[None])[0].detach().numpy()
    found = field(points)
    assert found.shape == (count,)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_field_of_a_priors_code() -> None:
    prior = ellipsoid_prior()
    points = np.random.default_rng(0).uniform(-0.9, 0.9, size=(50, 3))
    expected = prior.decoder(prior.codes[3:4], torch.from_numpy(points).float()[None])[0].detach().numpy()
    np.testing.assert_allclose(prior.field(prior.codes[3])(points), expected, atol=1e-6)
