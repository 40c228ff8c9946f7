"""Codes from samples of the whole field: on a decoder whose codes are known, and on a bundled prior."""

import pytest
import torch
from ellipsoids import EllipsoidDecoder, training_codes
from torch import Tensor

from shapeprior.completion.encoding import EncodeConfig, encode_samples
from shapeprior.completion.registry import load
from shapeprior.errors import CompletionError, ConfigError
from shapeprior.models.latent_space import CodeSpace

CODES = torch.tensor([[0.4, -0.9], [-1.2, 1.3], [0.0, 0.0], [1.5, 0.7]])
FAST = EncodeConfig(steps=100, points=256)


def samples_of(codes: Tensor, count: int = 1500) -> tuple[Tensor, Tensor]:
    """Points of the cube with each code's field, which is the truth."""
    points = torch.rand((len(codes), count, 3), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        return points, EllipsoidDecoder()(codes, points)


def encode(points: Tensor, sdf: Tensor, *, config: EncodeConfig = FAST, seed: int = 0) -> Tensor:
    space = CodeSpace.fit(training_codes())
    return encode_samples(EllipsoidDecoder(), space, points, sdf, clamp=0.1, config=config, seed=seed)


def test_the_codes_of_known_fields_are_found() -> None:
    torch.testing.assert_close(encode(*samples_of(CODES)), CODES, rtol=0, atol=5e-3)


def test_a_shape_does_not_depend_on_the_others() -> None:
    points, sdf = samples_of(CODES)
    together = encode(points, sdf)
    for row in range(len(CODES)):
        torch.testing.assert_close(encode(points[row : row + 1], sdf[row : row + 1])[0], together[row])
    turned = encode(points.flip(0), sdf.flip(0)).flip(0)
    torch.testing.assert_close(turned, together)
    in_parts = encode(points, sdf, config=EncodeConfig(steps=100, points=256, shapes=3))
    torch.testing.assert_close(in_parts, together)


def test_seeds_decide_which_samples_are_drawn() -> None:
    few = EncodeConfig(steps=5, points=16)
    points, sdf = samples_of(CODES)
    first, again, other = (encode(points, sdf, config=few, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fewer_samples_than_a_step_wants_are_all_used() -> None:
    points, sdf = samples_of(CODES, count=200)
    first, other = (encode(points, sdf, seed=seed) for seed in (3, 4))
    assert torch.equal(first, other)
    torch.testing.assert_close(first, CODES, rtol=0, atol=5e-3)


def test_a_strong_prior_pulls_to_the_mean() -> None:
    pulled = encode(*samples_of(CODES), config=EncodeConfig(steps=100, points=256, prior_weight=10.0))
    assert pulled.norm(dim=1).max() < 0.2  # The mean of the training codes is 0.


def test_the_decoder_is_left_as_it_was() -> None:
    decoder, (points, sdf) = EllipsoidDecoder(), samples_of(CODES)
    decoder.requires_grad_(True).train()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    encode_samples(decoder, CodeSpace.fit(training_codes()), points, sdf, clamp=0.1, config=FAST, seed=0)
    assert decoder.training
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in decoder.parameters())


def test_no_shapes_are_no_codes_and_no_samples_are_refused() -> None:
    assert encode(torch.zeros(0, 10, 3), torch.zeros(0, 10)).shape == (0, 2)
    with pytest.raises(ValueError, match="no samples"):
        encode(torch.zeros(2, 0, 3), torch.zeros(2, 0))


def test_numbers_that_are_not_finite_are_a_completion_error() -> None:
    points, sdf = samples_of(CODES)
    sdf[1] = torch.nan
    with pytest.raises(CompletionError, match="samples hold NaN"):
        encode(points, sdf)


def test_a_broken_decoder_is_a_completion_error() -> None:
    decoder, (points, sdf) = EllipsoidDecoder(), samples_of(CODES)
    decoder.get_parameter("middle").data.fill_(torch.nan)
    with pytest.raises(CompletionError, match="weights that were trained"):
        encode_samples(decoder, CodeSpace.fit(training_codes()), points, sdf, clamp=0.1, config=FAST, seed=0)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"shapes": 0}, {"points": 0}, {"rate": 0.0}, {"prior_weight": -1.0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        EncodeConfig(**setting)  # pyright: ignore[reportArgumentType]


def test_fields_of_training_codes_of_a_bundled_prior_lead_back() -> None:
    """To the same field, not to the same code: several codes may have it."""
    prior = load("mug")
    codes, space = prior.codes[:3], CodeSpace.fit(prior.codes)
    points = torch.rand((3, 1000, 3), generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    with torch.no_grad():
        sdf = prior.decoder(codes, points)
    config = EncodeConfig(steps=60, points=500)
    found = encode_samples(prior.decoder, space, points, sdf, clamp=0.1, config=config, seed=0)
    with torch.no_grad():
        error = (prior.decoder(found, points) - sdf).abs().clamp(max=0.1).mean(dim=1)
        start = (prior.decoder(space.mean.expand(3, -1), points) - sdf).abs().clamp(max=0.1).mean(dim=1)
    assert (error < 0.25 * start).all()
    assert error.max() < 0.01
