"""One epoch of training, and what all processes together say of it."""

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
from shapeprior.training.run import Interruption
from shapeprior.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class EpochOutcome:
    """The same in every process."""

    loss: float
    """Mean of `Objective.error` over the training shapes."""
    objective: float
    """Mean of `Objective.value`."""
    code_length: float
    """Mean length of the codes after the epoch."""
    interrupted: bool
    """Whether Ctrl-C was pressed in any process."""
    due: bool
    """Whether the first process finds that it is time for a checkpoint."""


def train_epoch(
    trainer: Trainer, samples: TrainingSamples, *, rate_share: float, interruption: Interruption, checkpoint_at: float
) -> EpochOutcome:
    """The trainer's next epoch. `checkpoint_at` is the time (`time.monotonic`) from which a checkpoint is due.

    Raises CheckpointError, naming shapes, if the objective or the weights are not finite; KeyboardInterrupt if Ctrl-C was pressed
    too long before the end.
    """
    plan, ranks = trainer.order.epoch(trainer.epoch), trainer.ranks
    rows, seen = [], []
    batches = samples.batches(own_steps(plan, ranks))
    for lanes in plan.rows:
        if interruption.overdue:
            raise KeyboardInterrupt
        own = _own(lanes, ranks)
        objective = trainer.step(
            own,
            next(batches) if len(own) else None,
            shapes=int(np.count_nonzero(lanes != ABSENT)),
            rate_share=rate_share,
        )
        if objective is not None:
            rows.append(own)
            seen.append(objective)
    due = time.monotonic() >= checkpoint_at
    trainer.epoch += 1
    return _together(trainer, rows, seen, interrupted=interruption.asked, due=due)


def own_steps(plan: EpochPlan, ranks: ProcessGroup) -> list[Step]:
    """The parts of a plan's steps that are this process's; the last step may have none."""
    own = [_own(lanes, ranks) for lanes in plan.rows]
    return [(rows, plan.starts[rows]) for rows in own if len(rows)]


def _own(lanes: Int[np.ndarray, "lanes"], ranks: ProcessGroup) -> Int[np.ndarray, "part"]:
    """The shapes of a step that are this process's."""
    own = lanes[ranks.rank :: ranks.size]
    return own[own != ABSENT]


def _together(
    trainer: Trainer,
    rows: list[Int[np.ndarray, "_"]],
    seen: list[Objective],
    *,
    interrupted: bool,
    due: bool,
) -> EpochOutcome:
    """What every process saw in its own steps, put together."""
    # The one place of an epoch where a fast device is waited for.
    value = torch.cat([objective.value for objective in seen]).double().cpu()
    error = torch.cat([objective.error for objective in seen]).double().cpu()
    length = torch.linalg.vector_norm(trainer.codes.values, dim=1).double().cpu()
    sums = [float(error.sum()), float(value.sum()), float(length.sum())]
    # Only the first process's clock counts.
    flags = [float(interrupted), float(due and trainer.ranks.first), float(not trainer.finite())]
    first_bad = _first_bad(rows, ~torch.isfinite(value).numpy())
    told = trainer.ranks.all_gather(torch.tensor([*sums, *flags, *first_bad], dtype=torch.float64)).numpy()
    _refuse_bad(told[:, 5:], trainer)
    means = told[:, :3].sum(axis=0) / len(trainer.config.shape_ids)
    return EpochOutcome(
        loss=float(means[0]),
        objective=float(means[1]),
        code_length=float(means[2]),
        interrupted=bool(told[:, 3].any()),
        due=bool(told[:, 4].any()),
    )


def _first_bad(rows: list[Int[np.ndarray, "_"]], bad: Bool[np.ndarray, "seen"]) -> tuple[float, float, float]:
    """The first step with a bad shape (infinity if there is none), the first such shape in it, and how many there are."""
    parts = np.split(bad, np.cumsum([len(part) for part in rows])[:-1])
    for step, (part, wrong) in enumerate(zip(rows, parts, strict=True)):
        if wrong.any():
            return float(step), float(part[wrong][0]), float(wrong.sum())
    return math.inf, 0.0, 0.0


def _refuse_bad(told: Float64[np.ndarray, "ranks 4"], trainer: Trainer) -> None:
    """Raise CheckpointError if a process has broken weights, or a bad shape: (broken, step, shape, how many), one row each."""
    broken, steps, rows, counts = told.T
    if not broken.any() and np.isinf(steps).all():
        return
    # Whatever comes after the first bad step is its consequence.
    first = steps == steps.min()
    names = ", ".join(trainer.config.shape_ids[int(row)] for row in rows[first]) if np.isfinite(steps).any() else ""
    others = int(counts[first].sum()) - int(first.sum())
    found = f"the loss of shape {names}{f' and {others} more of its batch' if others else ''}" if names else "weights"
    raise CheckpointError(
        f"epoch {trainer.epoch}: {found} is not finite; expected finite numbers; look at its samples, or lower decoder_rate "
        "and code_rate; the last checkpoint, if there is one, is from before"
    )
