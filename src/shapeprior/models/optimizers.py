"""Adam for tables of which a step uses a few rows, such as codes, or for a tensor as a table's one row.

Muon: gradients are turned into steps that move every direction of a weight matrix as far as any other.

Jordan and others, 2024, "Muon: an optimizer for hidden layers in neural networks": momentum, then the nearest matrix with equal
singular values, by Newton-Schulz iterations. `torch.optim.Muon` takes single matrices; here a layer's weights may be several, as
those of a convolution in groups are.
"""

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shapeprior.models.device import PrecisionName, product_type


class RowAdam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1), as if each row of a table had an optimiser of its own.

    A row that a step does not use stays as it is, with its moments and its count of steps: momentum moves no code whose shape was
    not seen, and a step costs the same however long the table is.
    """

    def __init__(
        self, values: Float[Tensor, "rows columns"], *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        """Starts at these values, which are changed in place; gradients far below `epsilon` move nothing."""
        self.values, self._betas, self._epsilon = values, betas, epsilon
        self.exp_avg: Float[Tensor, "rows columns"] = torch.zeros_like(values)
        """First moments (m)."""
        self.exp_avg_sq: Float[Tensor, "rows columns"] = torch.zeros_like(values)
        """Second moments (v)."""
        self.steps = np.zeros(len(values), dtype=np.int64)
        """Steps that each row has made (t)."""

    def take(self, rows: Int[np.ndarray, "taken"]) -> Float[Tensor, "taken columns"]:
        """Copies of some rows, to be differentiated by."""
        return self.values[self._index(rows)].requires_grad_()

    @torch.no_grad()
    def step(self, rows: Int[np.ndarray, "taken"], gradient: Float[Tensor, "taken columns"], *, rate: float) -> None:
        """One step of some rows, each of them named once."""
        index, (beta1, beta2) = self._index(rows), self._betas
        self.steps[rows] += 1
        # In float64, since 1 - beta2 ** t cancels; and on the CPU, since not every device has float64.
        correction1, correction2 = (1.0 - beta ** self.steps[rows].astype(np.float64) for beta in self._betas)
        step_size = self._column(rate / correction1)
        root = self._column(np.sqrt(correction2))
        exp_avg = self.exp_avg[index].lerp_(gradient, 1.0 - beta1)
        exp_avg_sq = self.exp_avg_sq[index].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        self.exp_avg[index] = exp_avg
        self.exp_avg_sq[index] = exp_avg_sq
        self.values[index] -= step_size * exp_avg / (exp_avg_sq.sqrt() / root + self._epsilon)

    def _index(self, rows: Int[np.ndarray, "taken"]) -> Int[Tensor, "taken"]:
        return torch.from_numpy(rows).to(self.values.device)

    def _column(self, numbers: Float[np.ndarray, "taken"]) -> Float[Tensor, "taken 1"]:
        return torch.from_numpy(numbers[:, None].astype(np.float32)).to(self.values.device)


MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the iteration's polynomial (Jordan and others): singular values of 0.001 and more of the largest end between 0.7 and 1.2."""
LIKE_ADAM = 0.2
"""Root mean square of a step's entries at a rate of 1, about as Adam's steps have it (Liu and others, 2025, "Muon is scalable for
LLM training", equation 4)."""


class Muon:
    """Steps the weights, not the biases, of linear layers and of convolutions."""

    def __init__(self, layers: Mapping[str, nn.Module], precision: PrecisionName = "float32") -> None:
        """`layers` by their names in the network; `precision` is that of the iterations' products, which need but few digits."""
        self._precision: PrecisionName = precision
        self._layers = {f"{name}.weight": layer for name, layer in layers.items()}
        self.momenta: dict[str, Tensor] = {
            name: torch.zeros_like(cast(Tensor, layer.weight)) for name, layer in self._layers.items()
        }
        """Running sums of gradients, by the names of the weights."""

    @torch.no_grad()
    def step(self, *, rate: float) -> None:
        """One step of every weight that has a gradient; the others, and their momenta, stay."""
        for name, layer in self._layers.items():
            weight, momentum = cast(Tensor, layer.weight), self.momenta[name]
            if weight.grad is None:
                continue
            momentum.mul_(MOMENTUM).add_(weight.grad)
            # Nesterov's: what the momentum would be after the same gradient once more.
            moved = matrices(layer, torch.add(weight.grad, momentum, alpha=MOMENTUM))
            size = LIKE_ADAM * math.sqrt(max(moved.shape[1:]))
            if moved.dtype == torch.float32:
                moved = moved.to(product_type(weight.device, self._precision))
            moved = orthogonal(moved)
            weight.add_(moved.reshape(weight.shape), alpha=-rate * size)


def matrices(layer: nn.Module, values: Tensor) -> Float[Tensor, "groups rows columns"]:
    """Values of a layer's weights as matrices, one a group: both kinds of convolution keep groups along their first axis."""
    groups = layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1
    return values.reshape(groups, len(values) // groups, -1)


def orthogonal(values: Float[Tensor, "groups rows columns"]) -> Float[Tensor, "groups rows columns"]:
    """About U Vᵀ for each matrix U S Vᵀ, in its type; zero for zero."""
    tall = values.shape[1] > values.shape[2]
    found = values.mT if tall else values
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp_min(1e-12)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = found @ found.mT
        found = first * found + (third * square + fifth * square @ square) @ found
    return found.mT if tall else found
