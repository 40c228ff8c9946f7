"""What training changes: the decoder, the codes that this process owns, and their optimisers.

A decoder compiled for its device (torch.compile).
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from shapeprior.errors import CheckpointError, ConfigError, error_text
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.decoder import Decoder
from shapeprior.models.objective import Objective, TrainingBatch, batch_objective
from shapeprior.models.optimizers import Muon, RowAdam
from shapeprior.models.presets import TrainConfig
from shapeprior.training.batches import BatchOrder
from shapeprior.training.distributed import ProcessGroup

FUSED = ("cpu", "cuda")
"""Devices on which torch steps all weights in one call."""


class Trainer:
    """One process's part of a run between two steps.

    Every process has the whole decoder and the same of it; of the table of codes it has its own rows, and their moments.
    """

    def __init__(
        self, config: RunConfig, order: BatchOrder, ranks: ProcessGroup, checkpoint: Checkpoint, path: Path
    ) -> None:
        """Go on from a checkpoint read from `path`; raises CheckpointError if it has no optimiser state, but for the first one."""
        self.config, self.order, self.ranks = config, order, ranks
        self.rows = order.owned(ranks.rank, ranks.size)
        """The training shapes whose codes are here."""
        self._place = np.zeros(len(config.shape_ids), dtype=np.int64)
        self._place[self.rows] = np.arange(len(self.rows))
        self.epoch = checkpoint.epoch
        """Epochs finished."""
        self.decoder = checkpoint.decoder
        self.decoder.to(ranks.device).train()
        self.codes = RowAdam(checkpoint.codes[torch.from_numpy(self.rows)].to(ranks.device))
        """The codes, by their place in `rows`."""
        self.parameters: list[nn.Parameter] = list(self.decoder.parameters())
        """The decoder's."""
        self._fused = ranks.device.type in FUSED
        self._muon = Muon(self.decoder.matrix_layers() if config.train.matrix_rate else {})
        self._adamed = {
            name: value for name, value in self.decoder.named_parameters() if name not in self._muon.momenta
        }
        self._adam = torch.optim.Adam(self._adamed.values(), lr=config.train.decoder_rate, fused=self._fused)
        if checkpoint.epoch > 0:
            self._restore(checkpoint, path)

    def step(
        self, rows: Int[np.ndarray, "part"], batch: TrainingBatch | None, *, shapes: int, rate_share: float
    ) -> Objective | None:
        """One step on these rows, this process's part of a batch of `shapes` shapes; None if it has none, and the others have.

        The gradient is that of the mean over the whole batch.
        """
        settings = self.config.train
        self._adam.param_groups[0]["lr"] = settings.decoder_rate * rate_share
        self.decoder.zero_grad(set_to_none=True)
        if batch is None:
            self._step_decoder(rate_share)
            return None
        places = self._place[rows]
        codes = self.codes.take(places)
        objective = batch_objective(self.decoder, codes, batch, settings)
        (objective.value.sum() / shapes).backward()
        self._step_decoder(rate_share)
        assert codes.grad is not None
        self.codes.step(places, codes.grad, rate=settings.code_rate * rate_share)
        return Objective(value=objective.value.detach(), error=objective.error)

    def _step_decoder(self, rate_share: float) -> None:
        self.ranks.sum_gradients(self.parameters)
        self._adam.step()
        self._muon.step(rate=self.config.train.matrix_rate * rate_share)

    def finite(self) -> bool:
        """Whether all weights and codes are: the last step of an epoch may break some that its loss has not seen."""
        return all(bool(torch.isfinite(value).all()) for value in (*self.parameters, self.codes.values))

    def checkpoint(self) -> Checkpoint | None:
        """The state of all processes together, for the first of them; None for the others. All must call it."""
        tables = {"": self.codes.values, ".exp_avg": self.codes.exp_avg, ".exp_avg_sq": self.codes.exp_avg_sq}
        tables[".step"] = torch.from_numpy(self.codes.steps).to(self.ranks.device)
        gathered = {f"codes{name}": self._gather(table) for name, table in tables.items()}
        if not self.ranks.first:
            return None
        optimizer = {name: table for name, table in gathered.items() if name != "codes" and table is not None}
        for name, parameter in self._adamed.items():
            for key, value in self._adam.state.get(parameter, {}).items():
                optimizer[f"{name}.{key}"] = torch.as_tensor(value, dtype=torch.float32)
        optimizer |= {f"{name}.momentum": value for name, value in self._muon.momenta.items()}
        codes = gathered["codes"]
        assert codes is not None
        return Checkpoint(epoch=self.epoch, decoder=self.decoder, codes=codes, optimizer=optimizer)

    def _gather(self, table: Tensor) -> Tensor | None:
        """Rows of all processes in the order of the training shapes."""
        if not self.ranks.first:
            self.ranks.send_to_first(table)
            return None
        whole = torch.zeros((len(self._place), *table.shape[1:]), dtype=table.dtype)
        for rank in range(self.ranks.size):
            rows = self.order.owned(rank, self.ranks.size)
            if rank == 0:
                part = table
            else:
                part = self.ranks.receive(table.new_zeros((len(rows), *table.shape[1:])), rank=rank)
            whole[torch.from_numpy(rows)] = part.detach().cpu()
        return whole

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Take over moments and steps."""

        def stored(name: str, shape: torch.Size) -> Tensor:
            found = checkpoint.optimizer.get(name)
            if found is None or found.shape != shape or not torch.isfinite(found).all():
                raise CheckpointError(
                    f"{path}: no usable optimizer.{name} beside the weights of epoch {checkpoint.epoch}; expected the "
                    "optimiser's state, without which training cannot go on; these weights are for completion only"
                )
            return found

        for name, momentum in self._muon.momenta.items():
            momentum.copy_(stored(f"{name}.momentum", momentum.shape))
        for name, parameter in self._adamed.items():
            moments = {key: stored(f"{name}.{key}", parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
            state = {key: value.to(parameter) for key, value in moments.items()}
            step = stored(f"{name}.step", torch.Size()).float()
            self._adam.state[parameter] = {**state, "step": step.to(parameter.device) if self._fused else step}
        own = torch.from_numpy(self.rows)
        self.codes.exp_avg[:] = stored("codes.exp_avg", checkpoint.codes.shape)[own].to(self.codes.values)
        self.codes.exp_avg_sq[:] = stored("codes.exp_avg_sq", checkpoint.codes.shape)[own].to(self.codes.values)
        self.codes.steps[:] = stored("codes.step", checkpoint.codes.shape[:1])[own].numpy()


def compile_decoder(decoder: Decoder, batch: TrainingBatch, settings: TrainConfig) -> None:
    """Compile the decoder in place, for batches such as this one; raises ConfigError if torch cannot.

    It compiles at the first call, so one is made here, with its gradient, and what comes out is dropped.
    """
    codes = torch.zeros((len(batch.rows), decoder.code_size), device=batch.sdf.device, requires_grad=True)
    try:
        decoder.compile()
        batch_objective(decoder, codes, batch, settings).value.sum().backward()
    # No compiler, one that fails, or an operation that the compiler does not know.
    except (RuntimeError, ImportError, OSError, AssertionError) as error:
        raise ConfigError(
            f"this decoder cannot be compiled here ({type(error).__name__}: {error_text(error)}); expected a C++ compiler (on "
            "the CPU) or Triton (on CUDA) and a loss that both know; train without --compile"
        ) from None
    decoder.zero_grad(set_to_none=True)
