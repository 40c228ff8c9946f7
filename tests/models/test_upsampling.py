"""Upsampling against its definition: a transposed convolution, then a filter if it is smooth."""

import pytest
import torch
from torch import Tensor, nn

from shapeprior.models.decoder import seeded
from shapeprior.models.upsampling import Upsampling


def layer(side: int) -> Upsampling:
    made = Upsampling(6, 9, side, groups=3).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(side), dtype=torch.float64))
    return made


def inputs() -> Tensor:
    return torch.randn((2, 6, 5, 5), generator=seeded(9), dtype=torch.float64)


@pytest.mark.parametrize(("side", "taps"), [(3, [0.5**0.5, 0.5**0.5]), (4, [0.25, 0.5, 0.25])])
def test_it_is_a_transposed_convolution_and_then_a_filter(side: int, taps: list[float]) -> None:
    made = layer(side)
    plain = nn.functional.conv_transpose2d(inputs(), made.weight, stride=2, groups=3)
    row = torch.tensor(taps, dtype=torch.float64)
    window = torch.outer(row, row).expand(9, 1, -1, -1)
    wide = nn.functional.conv2d(nn.functional.pad(plain, [len(taps) - 1] * 4), window, groups=9)
    cut = (wide.shape[-1] - 10) // 2
    assert made.bias is not None
    expected = wide[:, :, cut : cut + 10, cut : cut + 10] + made.bias[:, None, None]
    torch.testing.assert_close(made(inputs()), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [3, 4])
def test_constant_planes_do_not_ripple(side: int) -> None:
    """A plain transposed convolution makes a pattern of two cells of a constant; here only the border differs."""
    constant = torch.ones((1, 6, 8, 8), dtype=torch.float64)
    found = layer(side)(constant)[0, :, 4:-4, 4:-4]
    assert (found.amax(dim=(1, 2)) - found.amin(dim=(1, 2))).max() < 1e-12
    plain = nn.ConvTranspose2d(6, 9, 4, stride=2, padding=1, groups=3).double()(constant)[0, :, 4:-4, 4:-4]
    assert (plain.amax(dim=(1, 2)) - plain.amin(dim=(1, 2))).max() > 1e-3


def test_a_plain_one_is_torchs() -> None:
    made = Upsampling(6, 9, 4, groups=3, smooth=False).double()
    plain = nn.ConvTranspose2d(6, 9, 4, stride=2, padding=1, groups=3).double()
    plain.load_state_dict(made.state_dict())
    torch.testing.assert_close(made(inputs()), plain(inputs()), rtol=0, atol=1e-12)
