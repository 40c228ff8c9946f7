"""One epoch of training: its steps in this process, and its outcome over all processes."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from shapeprior.errors import CheckpointError
from shapeprior.models.objective import Objective
from shapeprior.training.batches import ABSENT, EpochPlan, Step, TrainingSamples
from shapeprior.training.distributed import ProcessGroup
from shapeprior.training.run import InterruptHandler
from shapeprior.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class EpochOutcome:
    """Summary of one epoch, identical in all processes."""

    loss: float
    """Mean of `Objective.error` over the training shapes."""
    objective: float
    """Mean of `Objective.value` over the training shapes."""
    code_length: float
    """Mean length of the codes after the epoch."""
    interrupted: bool
    """Whether Ctrl-C was pressed in any process."""
    checkpoint_due: bool
    """Whether a checkpoint is due by the clock of the first process."""


def train_epoch(
    trainer: Trainer,
    samples: TrainingSamples,
    *,
    rate_share: float,
    interrupt: InterruptHandler,
    checkpoint_at: float,
) -> EpochOutcome:
    """Train the next epoch. `checkpoint_at` is the time (`time.monotonic`) from which a checkpoint is due.

    Raises CheckpointError, which names shapes, if the objective or the weights are not finite. Raises KeyboardInterrupt
    if Ctrl-C was pressed too long before the end of the epoch.
    """
    plan, group = trainer.order.epoch(trainer.epoch), trainer.group
    rows, objectives = [], []
    batches = samples.batches(steps_of_process(plan, group))
    for lanes in plan.rows:
        if interrupt.grace_is_over:
            raise KeyboardInterrupt
        own = _rows_of_process(lanes, group)
        objective = trainer.step(
            own,
            next(batches) if len(own) else None,
            shapes=int(np.count_nonzero(lanes != ABSENT)),
            rate_share=rate_share,
        )
        if objective is not None:
            rows.append(own)
            objectives.append(objective)
    checkpoint_due = time.monotonic() >= checkpoint_at
    trainer.epoch += 1
    return _gather_outcome(trainer, rows, objectives, interrupted=interrupt.requested, checkpoint_due=checkpoint_due)


def steps_of_process(plan: EpochPlan, group: ProcessGroup) -> list[Step]:
    """Return this process's part of each step; steps of which it has no part are left out."""
    own = [_rows_of_process(lanes, group) for lanes in plan.rows]
    return [(rows, plan.starts[rows]) for rows in own if len(rows)]


def _rows_of_process(lanes: Int[np.ndarray, "lanes"], group: ProcessGroup) -> Int[np.ndarray, "part"]:
    """Return the shapes of a step that belong to this process."""
    own = lanes[group.rank :: group.size]
    return own[own != ABSENT]


def _gather_outcome(
    trainer: Trainer,
    rows: list[Int[np.ndarray, "_"]],
    objectives: list[Objective],
    *,
    interrupted: bool,
    checkpoint_due: bool,
) -> EpochOutcome:
    """Combine the objectives of all processes, given those of this one for the shapes in `rows`, step by step."""
    # This is the only place of an epoch that waits for a fast device.
    value = torch.cat([objective.value for objective in objectives]).double().cpu()
    error = torch.cat([objective.error for objective in objectives]).double().cpu()
    length = torch.linalg.vector_norm(trainer.codes.values, dim=1).double().cpu()
    sums = [float(error.sum()), float(value.sum()), float(length.sum())]
    # Only the first process's clock counts.
    flags = [float(interrupted), float(checkpoint_due and trainer.group.is_first), float(not trainer.is_finite())]
    first_nonfinite = _first_nonfinite(rows, ~torch.isfinite(value).numpy())
    numbers = torch.tensor([*sums, *flags, *first_nonfinite], dtype=torch.float64)
    gathered = trainer.group.all_gather(numbers).numpy()
    _require_finite(gathered[:, 5:], trainer)
    means = gathered[:, :3].sum(axis=0) / len(trainer.config.shape_ids)
    return EpochOutcome(
        loss=float(means[0]),
        objective=float(means[1]),
        code_length=float(means[2]),
        interrupted=bool(gathered[:, 3].any()),
        checkpoint_due=bool(gathered[:, 4].any()),
    )


def _first_nonfinite(
    rows: list[Int[np.ndarray, "_"]], nonfinite: Bool[np.ndarray, "seen"]
) -> tuple[float, float, float]:
    """Return the first step with non-finite objectives, its first such shape, and their number in it.

    The step is infinity if there is none.
    """
    by_step = np.split(nonfinite, np.cumsum([len(part) for part in rows])[:-1])
    for step, (part, bad) in enumerate(zip(rows, by_step, strict=True)):
        if bad.any():
            return float(step), float(part[bad][0]), float(bad.sum())
    return math.inf, 0.0, 0.0


def _require_finite(gathered: Float64[np.ndarray, "ranks 4"], trainer: Trainer) -> None:
    """Raise CheckpointError if a process found non-finite numbers.

    Each row is that of a process: whether its weights are broken, and then the three numbers of `_first_nonfinite`.
    """
    broken, steps, rows, counts = gathered.T
    if not broken.any() and np.isinf(steps).all():
        return
    # Non-finite numbers in later steps follow from the first ones.
    first = steps == steps.min()
    names = ", ".join(trainer.config.shape_ids[int(row)] for row in rows[first]) if np.isfinite(steps).any() else ""
    others = int(counts[first].sum()) - int(first.sum())
    found = f"the loss of shape {names}{f' and {others} more of its batch' if others else ''}" if names else "weights"
    raise CheckpointError(
        f"epoch {trainer.epoch}: {found} is not finite; expected finite numbers; look at its samples, or lower "
        "decoder_rate and code_rate; the last checkpoint, if there is one, is from before"
    )
