"""Upsampling of feature planes: plain, or without the ripples of transposed convolutions."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

PLAIN_SIDE = 4
"""Side of the learned kernel of a plain upsampling."""
FILTERS: dict[int, tuple[float, ...]] = {3: (0.5**0.5, 0.5**0.5), 4: (0.25, 0.5, 0.25)}
"""The filter along each axis that follows a learned kernel of this side in a smooth upsampling. The pair keeps the
variance of random weights as it is."""


class Upsampling(nn.ConvTranspose2d):
    """Doubles the side of planes by a learned kernel and, where it is smooth, a fixed low-pass filter.

    A transposed convolution computes even and odd cells by different entries of its kernel, so that its planes ripple
    with a period of two cells (Odena et al. 2016, "Deconvolution and checkerboard artifacts"), and so does the surface
    that is read from them. Both filters have a zero at that period. As convolutions, kernel and filter are one larger
    kernel, which is what is applied: 4 × 4 for a learned side of 3, or 6 × 6 for a learned side of 4.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side: int,
        *,
        groups: int,
        smooth: bool = True,
        device: torch.device | str | None = None,
    ) -> None:
        """Take the learned kernel's `side`, 3 or 4, and the other options of `torch.nn.ConvTranspose2d`.

        A plain upsampling has a learned side of 4.
        """
        super().__init__(in_channels, out_channels, side, stride=2, groups=groups, device=device)
        self._filter = FILTERS[side] if smooth else (1.0,)

    @property
    def kernel(self) -> Float[Tensor, "inputs outputs size size"]:
        """The kernel that is applied: the learned one convolved with the filter along both axes."""
        if len(self._filter) == 1:
            return self.weight
        taps = torch.tensor(self._filter, dtype=self.weight.dtype, device=self.weight.device)
        reach = len(taps) - 1
        wide = nn.functional.pad(self.weight, (reach, reach, reach, reach))
        for axis in (2, 3):
            size = wide.shape[axis] - reach
            shifted = [tap * wide.narrow(axis, place, size) for place, tap in enumerate(taps.unbind())]
            wide = cast(Tensor, sum(shifted))
        return wide

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return planes of twice the side."""
        del output_size  # torch's layers have it; here the side always doubles.
        return upsample(input, self.kernel, self.bias, groups=self.groups)


def upsample(
    planes: Float[Tensor, "shapes features side side"],
    kernel: Float[Tensor, "features outputs size size"],
    bias: Float[Tensor, "outputs_all"] | None,
    *,
    groups: int = 1,
) -> Float[Tensor, "shapes outputs_all doubled doubled"]:
    """Apply the whole kernel of an `Upsampling`, or that of one of its groups."""
    padding = kernel.shape[-1] // 2 - 1
    return nn.functional.conv_transpose2d(planes, kernel, bias, stride=2, padding=padding, groups=groups)
