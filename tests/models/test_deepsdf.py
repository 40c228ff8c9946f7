"""The DeepSDF decoder against a plain second implementation, written from the paper (figure 9 of its supplement)."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from shapeprior.errors import ConfigError
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.presets import build_decoder, preset

SMALL = DeepSdfConfig(code_size=5, width=24)


def small(seed: int = 0) -> DeepSdfDecoder:
    """Return a decoder in float64 whose lengths g differ from |v|, as they do after training."""
    decoder = DeepSdfDecoder(SMALL, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith("original0"):
                parameter.mul_(0.5 + 2.0 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    return decoder


def plain(decoder: DeepSdfDecoder, codes: Tensor, points: Tensor) -> Tensor:
    """[code, point] → four layers → [·, code, point] → four layers → one number → tanh; each weight is g v / |v|."""
    state = decoder.state_dict()
    layers = [f"hidden.{number}" for number in range(8)] + ["output"]
    joined = torch.cat([codes[:, None, :].expand(-1, points.shape[1], -1), points], dim=-1)
    carried = joined
    for number, layer in enumerate(layers):
        length, direction = (state[f"{layer}.parametrizations.weight.original{k}"] for k in (0, 1))
        weight = length * direction / direction.pow(2).sum(dim=1, keepdim=True).sqrt()
        if number == 4:
            carried = torch.cat([carried, joined], dim=-1)
        carried = carried @ weight.T + state[f"{layer}.bias"]
        if layer != "output":
            carried = carried.clamp_min(0.0)
    carried = carried[..., 0]
    return (carried.exp() - (-carried).exp()) / (carried.exp() + (-carried).exp())


def inputs(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn((3, 5), generator=generator, dtype=torch.float64)
    points = torch.rand((3, 40, 3), generator=generator, dtype=torch.float64) * 2.0 - 1.0
    return codes.requires_grad_(), points.requires_grad_()


def test_values_equal_the_plain_implementation() -> None:
    decoder, (codes, points) = small(), inputs()
    found, expected = decoder(codes, points), plain(decoder, codes, points)
    assert expected.std() > 1e-3  # Not a constant that anything would match.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_equal_those_of_the_plain_implementation() -> None:
    decoder, (codes, points) = small(), inputs()
    weights = torch.linspace(-1.0, 2.0, 120, dtype=torch.float64).view(3, 40)
    found = torch.autograd.grad((decoder(codes, points) * weights).sum(), (codes, points))
    expected = torch.autograd.grad((plain(decoder, codes, points) * weights).sum(), (codes, points))
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_weight_gradients_agree_with_finite_differences() -> None:
    decoder, (codes, points) = small(), inputs()
    parameter = decoder.get_parameter("hidden.4.parametrizations.weight.original1")
    (gradient,) = torch.autograd.grad(decoder(codes, points).sum(), parameter)
    with torch.no_grad():
        for row, column in ((0, 0), (7, 17), (23, 23)):  # Carried features, the code's columns, the point's.
            values = []
            for step in (1e-6, -1e-6):
                parameter[row, column] += step
                values.append(float(decoder(codes, points).sum()))
                parameter[row, column] -= step
            assert float(gradient[row, column]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_preparing_once_and_querying_in_parts_equals_forward() -> None:
    decoder, (codes, points) = small(), inputs()
    whole = decoder(codes, points)
    prepared = decoder.prepare(codes)
    parts = torch.cat([decoder.query(prepared, part) for part in points.split(7, dim=1)], dim=1)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)
    assert all(len(tensor) == 3 for tensor in prepared)


def test_each_shape_sees_its_own_code_only() -> None:
    decoder, (codes, points) = small(), inputs()
    alone = torch.cat([decoder(codes[row : row + 1], points[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(decoder(codes, points), alone, rtol=0, atol=1e-14)


def test_parameters_of_deepsdf_256_by_hand() -> None:
    decoder = build_decoder(preset("deepsdf-256").decoder, seed=0)
    joined, width = 64 + 3, 256
    first = joined * width + width + width  # Directions, lengths, biases.
    full = width * width + width + width
    before_skip = width * (width - joined) + 2 * (width - joined)
    assert decoder.parameter_count() == first + 2 * full + before_skip + 4 * full + (width + 1 + 1)
    assert decoder.parameter_count() == 462_972


def test_new_weights_have_the_spread_of_the_default_initialisation() -> None:
    torch.manual_seed(0)
    ours = DeepSdfDecoder(DeepSdfConfig(code_size=64, width=256), seed=0)
    layer, reference = cast(torch.nn.Linear, ours.hidden[1]), torch.nn.Linear(256, 256)
    for found, expected in ((layer.weight, reference.weight), (layer.bias, reference.bias)):
        assert float(found.detach().std()) == pytest.approx(float(expected.detach().std()), rel=0.1)
        assert float(found.detach().abs().max()) == pytest.approx(float(expected.detach().abs().max()), rel=0.05)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"code_size": 0}, "code_size = 0"),
        ({"skip_layer": 8}, "expected 1 to 7"),
        ({"skip_layer": 0}, "skip_layer = 0"),
        ({"code_size": 64, "width": 67}, "more than code_size"),
    ],
)
def test_impossible_sizes_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        DeepSdfConfig(**fields)


@pytest.mark.parametrize(("layers", "skip_layer"), [(2, 1), (8, 1), (8, 7)])
def test_the_skip_may_be_anywhere(layers: int, skip_layer: int) -> None:
    decoder = DeepSdfDecoder(DeepSdfConfig(code_size=2, width=16, layers=layers, skip_layer=skip_layer), seed=0)
    values = decoder(torch.zeros(1, 2), torch.rand(1, 9, 3))
    assert values.shape == (1, 9)
    assert torch.isfinite(values).all()
