"""The state that training changes, decoder and codes with their optimisers, and the step that changes it.

`compile_decoder` compiles the decoder for its device with torch.compile.
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

FUSED_ADAM_DEVICES = ("cpu", "cuda")
"""Kinds of devices on which torch steps all weights in one call."""


class Trainer:
    """One process's part of the state of a run.

    Every process has the same copy of the whole decoder. Of the table of codes, it has its own rows and their moments.
    """

    def __init__(
        self, config: RunConfig, order: BatchOrder, group: ProcessGroup, checkpoint: Checkpoint, path: Path
    ) -> None:
        """Continue from a checkpoint, which was read from `path`.

        Raises CheckpointError if it has no optimiser state, unless it is the first one of the run.
        """
        self.config, self.order, self.group = config, order, group
        self.rows = order.owned(group.rank, group.size)
        """The training shapes whose codes this process has."""
        self._local_row = np.zeros(len(config.shape_ids), dtype=np.int64)
        self._local_row[self.rows] = np.arange(len(self.rows))
        self.epoch = checkpoint.epoch
        """Number of finished epochs."""
        self.decoder = checkpoint.decoder
        self.decoder.to(group.device).train()
        self.codes = RowAdam(checkpoint.codes[torch.from_numpy(self.rows)].to(group.device))
        """The codes, in the order of `rows`."""
        self.parameters: list[nn.Parameter] = list(self.decoder.parameters())
        """The decoder's parameters."""
        self._fused = group.device.type in FUSED_ADAM_DEVICES
        self._muon = Muon(self.decoder.matrix_layers() if config.train.matrix_rate else {})
        self._adam_parameters = {
            name: value for name, value in self.decoder.named_parameters() if name not in self._muon.momenta
        }
        self._adam = torch.optim.Adam(self._adam_parameters.values(), lr=config.train.decoder_rate, fused=self._fused)
        if checkpoint.epoch > 0:
            self._restore(checkpoint, path)

    def step(
        self, rows: Int[np.ndarray, "part"], batch: TrainingBatch | None, *, shapes: int, rate_share: float
    ) -> Objective | None:
        """Take one step on this process's part of a batch, `rows`, with the gradient of the whole batch's mean.

        The whole batch has `shapes` shapes. A process without a part has no `batch` and returns None; it takes the
        decoder's step with the others.
        """
        settings = self.config.train
        self._adam.param_groups[0]["lr"] = settings.decoder_rate * rate_share
        self.decoder.zero_grad(set_to_none=True)
        if batch is None:
            self._step_decoder(rate_share)
            return None
        local_rows = self._local_row[rows]
        codes = self.codes.take(local_rows)
        objective = batch_objective(self.decoder, codes, batch, settings)
        (objective.value.sum() / shapes).backward()
        self._step_decoder(rate_share)
        assert codes.grad is not None
        self.codes.step(local_rows, codes.grad, rate=settings.code_rate * rate_share)
        return Objective(value=objective.value.detach(), error=objective.error)

    def _step_decoder(self, rate_share: float) -> None:
        self.group.sum_gradients(self.parameters)
        self._adam.step()
        self._muon.step(rate=self.config.train.matrix_rate * rate_share)

    def is_finite(self) -> bool:
        """Tell whether all weights and codes are finite. The last step of an epoch may break some after its loss was
        computed."""
        return all(bool(torch.isfinite(value).all()) for value in (*self.parameters, self.codes.values))

    def checkpoint(self) -> Checkpoint | None:
        """Return the state of all processes together in the first one, and None in the others. All processes must call
        it."""
        tables = {"": self.codes.values, ".exp_avg": self.codes.exp_avg, ".exp_avg_sq": self.codes.exp_avg_sq}
        tables[".step"] = torch.from_numpy(self.codes.steps).to(self.group.device)
        gathered = {f"codes{name}": self._gather(table) for name, table in tables.items()}
        if not self.group.is_first:
            return None
        optimizer = {name: table for name, table in gathered.items() if name != "codes" and table is not None}
        for name, parameter in self._adam_parameters.items():
            for key, value in self._adam.state.get(parameter, {}).items():
                optimizer[f"{name}.{key}"] = torch.as_tensor(value, dtype=torch.float32)
        optimizer |= {f"{name}.momentum": value for name, value in self._muon.momenta.items()}
        codes = gathered["codes"]
        assert codes is not None
        return Checkpoint(epoch=self.epoch, decoder=self.decoder, codes=codes, optimizer=optimizer)

    def _gather(self, table: Tensor) -> Tensor | None:
        """Return the rows of all processes in the order of the training shapes, in the first process."""
        if not self.group.is_first:
            self.group.send_to_first(table)
            return None
        whole = torch.zeros((len(self._local_row), *table.shape[1:]), dtype=table.dtype)
        for rank in range(self.group.size):
            rows = self.order.owned(rank, self.group.size)
            if rank == 0:
                part = table
            else:
                part = self.group.receive(table.new_zeros((len(rows), *table.shape[1:])), rank=rank)
            whole[torch.from_numpy(rows)] = part.detach().cpu()
        return whole

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Restore the moments and steps of a checkpoint."""

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
        for name, parameter in self._adam_parameters.items():
            moments = {key: stored(f"{name}.{key}", parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
            state = {key: value.to(parameter) for key, value in moments.items()}
            step = stored(f"{name}.step", torch.Size()).float()
            self._adam.state[parameter] = {**state, "step": step.to(parameter.device) if self._fused else step}
        own = torch.from_numpy(self.rows)
        self.codes.exp_avg[:] = stored("codes.exp_avg", checkpoint.codes.shape)[own].to(self.codes.values)
        self.codes.exp_avg_sq[:] = stored("codes.exp_avg_sq", checkpoint.codes.shape)[own].to(self.codes.values)
        self.codes.steps[:] = stored("codes.step", checkpoint.codes.shape[:1])[own].numpy()


def compile_decoder(decoder: Decoder, batch: TrainingBatch, settings: TrainConfig) -> None:
    """Compile the decoder in place for batches such as this one. Raises ConfigError if torch cannot.

    torch compiles at the first call, so this makes one, with its gradient, and drops the result.
    """
    codes = torch.zeros((len(batch.rows), decoder.code_size), device=batch.sdf.device, requires_grad=True)
    try:
        decoder.compile()
        batch_objective(decoder, codes, batch, settings).value.sum().backward()
    # There is no compiler, or it fails, or it does not know an operation.
    except (RuntimeError, ImportError, OSError, AssertionError) as error:
        raise ConfigError(
            f"this decoder cannot be compiled here ({type(error).__name__}: {error_text(error)}); expected a C++ "
            "compiler (on the CPU) or Triton (on CUDA) and a loss that both know; train without --compile"
        ) from None
    decoder.zero_grad(set_to_none=True)
