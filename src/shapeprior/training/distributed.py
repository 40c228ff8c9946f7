"""The processes of one training, as torchrun starts them: who they are, and what they tell each other."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, distributed, nn

from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.models.device import usable_device

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""What processes talk through, by their kind of device."""


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """This process among all. Every method but the properties is called by all of them at the same place of the program.

    Raises CheckpointError if another process has ended meanwhile.
    """

    rank: int
    """This process, from 0."""
    size: int
    """How many there are."""
    device: torch.device
    """Where this one computes."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        self.all_gather(torch.zeros(1, dtype=torch.float64))

    def all_gather(self, numbers: Float64[Tensor, "numbers"]) -> Float64[Tensor, "ranks numbers"]:
        """What every process tells the others, on the CPU."""
        if self.size == 1:
            return numbers[None]
        told = [torch.empty_like(numbers, device=self.device) for _ in range(self.size)]
        self._talk(lambda: distributed.all_gather(told, numbers.to(self.device)))
        return torch.stack(told).cpu()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum over all processes; one that has none adds nothing."""
        if self.size == 1:
            return
        own = [torch.zeros_like(part) if part.grad is None else part.grad for part in parameters]
        flat = torch.cat([gradient.flatten() for gradient in own])
        self._talk(lambda: distributed.all_reduce(flat))
        for part, total in zip(parameters, flat.split([part.numel() for part in parameters]), strict=True):
            part.grad = total.view_as(part)

    def send_to_first(self, tensor: Tensor) -> None:
        """What a process other than the first has for the first, which calls `receive` with its rank."""
        self._talk(lambda: distributed.send(tensor.contiguous(), dst=0))

    def receive(self, tensor: Tensor, *, rank: int) -> Tensor:
        """The tensor that a process sends to the first, which is this one, written over one of its shape and type."""
        self._talk(lambda: distributed.recv(tensor, src=rank))
        return tensor

    def _talk(self, talk: Callable[[], object]) -> None:
        try:
            talk()
        # gloo and NCCL report a lost connection, or a wait that took too long, as errors of this kind.
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0][:120]
            raise CheckpointError(
                f"process {self.rank} of {self.size}: another process of this training has ended ({reason}); expected all of "
                "them; see its own message, then start the same command again to go on from the last checkpoint"
            ) from None


@contextmanager
def join_process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun's environment speaks of (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR); without it, be alone.

    On `cuda` each process takes the device of its LOCAL_RANK. Raises ConfigError if the device cannot be used, or the
    others do not come.
    """
    rank, size, local = (
        _number(name, default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if size == 1:
        yield ProcessGroup(rank=0, size=1, device=usable_device(device))
        return
    if device not in BACKENDS:
        raise ConfigError(f"device '{device}' for {size} processes; expected one of {', '.join(BACKENDS)}")
    ranks = ProcessGroup(rank=rank, size=size, device=usable_device(f"cuda:{local}" if device == "cuda" else device))
    if device == "cuda":
        torch.cuda.set_device(ranks.device)
    try:
        distributed.init_process_group(BACKENDS[device], rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise ConfigError(
            f"RANK={rank}, WORLD_SIZE={size}: cannot join the other processes ({reason}); expected what torchrun sets; "
            "start with `torchrun --nproc-per-node N -m shapeprior train ...`"
        ) from None
    yield ranks
    # Not after an error: the others would be waited for. They learn of it when this process ends.
    distributed.destroy_process_group()


def rank_of_environment() -> int:
    """Which process this one will be."""
    return _number("RANK", 0)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"environment variable {name}={text!r}; expected a whole number, as torchrun sets it")
    return int(text)
