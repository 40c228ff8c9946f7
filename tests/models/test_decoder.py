"""The NumPy field of a decoder (`DecodedField`) against the decoder itself."""

import numpy as np
import pytest
import torch
from helpers.ellipsoids import ellipsoid_prior

from shapeprior.models.decoder import QUERY_POINTS, DecodedField, empty_layer
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import DecoderConfig, build_decoder
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
    # With gradients, the decoder computes the same values in another way.
    expected = decoder(code, torch.from_numpy(points).float()[None])[0].detach().numpy()
    found = field(points)
    assert found.shape == (count,)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_field_of_a_priors_code() -> None:
    prior = ellipsoid_prior()
    points = np.random.default_rng(0).uniform(-0.9, 0.9, size=(50, 3))
    expected = prior.decoder(prior.codes[3:4], torch.from_numpy(points).float()[None])[0].detach().numpy()
    np.testing.assert_allclose(prior.field(prior.codes[3])(points), expected, atol=1e-6)


@pytest.mark.parametrize("config", [CONFIG, DeepSdfConfig(code_size=5, width=24)])
def test_seed_decides_the_weights_and_nothing_else_does(config: DecoderConfig) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_decoder(config, seed=seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    later = build_decoder(config, seed=4).state_dict()
    torch.set_rng_state(before)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, later[name])
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_empty_layers_follow_torchs_device_and_draw_nothing() -> None:
    before = torch.get_rng_state()
    assert empty_layer(torch.nn.Linear, 3, 4).weight.shape == (4, 3)
    with torch.device("meta"):
        assert empty_layer(torch.nn.Conv2d, 3, 4, 1, groups=1).weight.is_meta
    assert torch.equal(torch.get_rng_state(), before)
