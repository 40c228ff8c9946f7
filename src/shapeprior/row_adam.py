"""Adam for tables of which a step uses a few rows, such as codes, or for a tensor as a table's one row."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


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
