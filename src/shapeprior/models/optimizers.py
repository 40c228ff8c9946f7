"""Optimisers that step parts of a network as torch's own cannot, and the decay of learning rates.

`RowAdam` is Adam for tables such as latent codes, of which a step uses a few rows. `Muon` steps weight matrices by the
nearest matrix with equal singular values, found by Newton-Schulz iterations (Jordan and others, 2024, "Muon: an
optimizer for hidden layers in neural networks"). `torch.optim.Muon` takes single matrices; here one layer may hold
several, as grouped convolutions do.
"""

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shapeprior.models.device import PrecisionName, matmul_dtype

MOMENTUM = 0.95
"""Decay of Muon's running sum of gradients."""
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration's polynomial (Jordan and others). Singular values that are at least 0.001 of the
largest one end between 0.7 and 1.2."""
ADAM_STEP_RMS = 0.2
"""Root mean square of the entries of Muon's step at a rate of 1. Adam's steps have about the same (Liu and others,
2025, "Muon is scalable for LLM training", equation 4)."""


def cosine_decay(step: int | float, num_steps: int | float, *, final: float = 0.0) -> float:
    """Return the share of the first learning rate at a step: half a cosine from 1 at step 0 to `final` at
    `num_steps`."""
    half_cosine = 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
    return final + (1.0 - final) * half_cosine


class RowAdam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1) with a separate optimiser for each row of a table.

    A row that a step does not use keeps its value, its moments and its step count. So momentum moves no code whose
    shape was not in the batch, and a step costs the same however long the table is.
    """

    def __init__(
        self, values: Float[Tensor, "rows columns"], *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        """Start at these values and change them in place. Gradients far below `epsilon` move nothing."""
        self.values, self._betas, self._epsilon = values, betas, epsilon
        self.exp_avg: Float[Tensor, "rows columns"] = torch.zeros_like(values)
        """First moments (m)."""
        self.exp_avg_sq: Float[Tensor, "rows columns"] = torch.zeros_like(values)
        """Second moments (v)."""
        self.steps = np.zeros(len(values), dtype=np.int64)
        """Number of steps of each row (t)."""

    def take(self, rows: Int[np.ndarray, "taken"]) -> Float[Tensor, "taken columns"]:
        """Return copies of some rows that require gradients."""
        return self.values[self._index(rows)].requires_grad_()

    @torch.no_grad()
    def step(self, rows: Int[np.ndarray, "taken"], gradient: Float[Tensor, "taken columns"], *, rate: float) -> None:
        """Step some rows, each of which is named once."""
        index, (beta1, beta2) = self._index(rows), self._betas
        self.steps[rows] += 1
        # In float64, because 1 - beta2 ** t cancels; on the CPU, because not every device has float64.
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


class Muon:
    """Momentum whose step is orthogonalised, for the weights (not the biases) of linear layers and convolutions."""

    def __init__(self, layers: Mapping[str, nn.Module], precision: PrecisionName = "float32") -> None:
        """Optimise the weights of `layers`, given by their names in the network.

        `precision` is that of the products of the iterations, for which few digits suffice.
        """
        self._precision: PrecisionName = precision
        self._layers = {f"{name}.weight": layer for name, layer in layers.items()}
        self.momenta: dict[str, Tensor] = {
            name: torch.zeros_like(cast(Tensor, layer.weight)) for name, layer in self._layers.items()
        }
        """Running sums of gradients, by the names of the weights."""

    @torch.no_grad()
    def step(self, *, rate: float) -> None:
        """Step every weight that has a gradient. Weights without one stay, and so do their momenta."""
        for name, layer in self._layers.items():
            weight, momentum = cast(Tensor, layer.weight), self.momenta[name]
            if weight.grad is None:
                continue
            momentum.mul_(MOMENTUM).add_(weight.grad)
            # Nesterov momentum: the value it would have after the same gradient once more.
            update = weight_matrices(layer, torch.add(weight.grad, momentum, alpha=MOMENTUM))
            size = ADAM_STEP_RMS * math.sqrt(max(update.shape[1:]))
            if update.dtype == torch.float32:
                update = update.to(matmul_dtype(weight.device, self._precision))
            update = orthogonalized(update)
            weight.add_(update.reshape(weight.shape), alpha=-rate * size)


def weight_matrices(layer: nn.Module, values: Tensor) -> Float[Tensor, "groups rows columns"]:
    """Reshape values of a layer's weights to matrices, one for each group.

    Plain and transposed convolutions both keep their groups along the first axis.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1
    return values.reshape(groups, len(values) // groups, -1)


def orthogonalized(values: Float[Tensor, "groups rows columns"]) -> Float[Tensor, "groups rows columns"]:
    """Return about U Vᵀ for each matrix U S Vᵀ, in the same type; zero stays zero."""
    tall = values.shape[1] > values.shape[2]
    result = values.mT if tall else values
    result = result / torch.linalg.matrix_norm(result, keepdim=True).clamp_min(1e-12)
    first, third, fifth = NEWTON_SCHULZ_COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = result @ result.mT
        result = first * result + (third * square + fifth * square @ square) @ result
    return result.mT if tall else result
