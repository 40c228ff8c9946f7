"""The processes of a training run, as torchrun starts them: their ranks, and the communication between them."""

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
"""torch's communication backend for each kind of device."""


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """This process and its place among all processes of the run.

    All processes must call a method (but for the properties) at the same place of the program. Methods raise
    CheckpointError if another process has ended meanwhile.
    """

    rank: int
    """Number of this process, from 0."""
    size: int
    """Number of processes."""
    device: torch.device
    """Device on which this process computes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.all_gather(torch.zeros(1, dtype=torch.float64))

    def all_gather(self, numbers: Float64[Tensor, "numbers"]) -> Float64[Tensor, "ranks numbers"]:
        """Return the numbers of all processes, on the CPU."""
        if self.size == 1:
            return numbers[None]
        gathered = [torch.empty_like(numbers, device=self.device) for _ in range(self.size)]
        self._communicate(lambda: distributed.all_gather(gathered, numbers.to(self.device)))
        return torch.stack(gathered).cpu()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; a missing gradient counts as zero."""
        if self.size == 1:
            return
        own = [torch.zeros_like(part) if part.grad is None else part.grad for part in parameters]
        flat = torch.cat([gradient.flatten() for gradient in own])
        self._communicate(lambda: distributed.all_reduce(flat))
        for part, total in zip(parameters, flat.split([part.numel() for part in parameters]), strict=True):
            part.grad = total.view_as(part)

    def send_to_first(self, tensor: Tensor) -> None:
        """Send a tensor to the first process, which calls `receive` with this process's rank."""
        self._communicate(lambda: distributed.send(tensor.contiguous(), dst=0))

    def receive(self, tensor: Tensor, *, rank: int) -> Tensor:
        """Receive a tensor in the first process; it is written over `tensor`, which has its shape and type."""
        self._communicate(lambda: distributed.recv(tensor, src=rank))
        return tensor

    def _communicate(self, call: Callable[[], object]) -> None:
        try:
            call()
        # gloo and NCCL report a lost connection, or a wait that took too long, as a RuntimeError.
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0][:120]
            raise CheckpointError(
                f"process {self.rank} of {self.size}: another process of this training has ended ({reason}); expected "
                "all of them; see its own message, then start the same command again to go on from the last checkpoint"
            ) from None


@contextmanager
def join_process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes of torchrun's environment; without one, this process is alone.

    The environment holds RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR. On `cuda` each process takes the device of its
    LOCAL_RANK. Raises ConfigError if the device cannot be used, or if the other processes do not come.
    """
    rank, size, local_rank = (
        _environment_number(name, default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if size == 1:
        yield ProcessGroup(rank=0, size=1, device=usable_device(device))
        return
    if device not in BACKENDS:
        raise ConfigError(f"device '{device}' for {size} processes; expected one of {', '.join(BACKENDS)}")
    own_device = usable_device(f"cuda:{local_rank}" if device == "cuda" else device)
    if device == "cuda":
        torch.cuda.set_device(own_device)
    try:
        distributed.init_process_group(BACKENDS[device], rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise ConfigError(
            f"RANK={rank}, WORLD_SIZE={size}: cannot join the other processes ({reason}); expected what torchrun sets; "
            "start with `torchrun --nproc-per-node N -m shapeprior train ...`"
        ) from None
    yield ProcessGroup(rank=rank, size=size, device=own_device)
    # This is not done after an error, because it would wait for the others. They notice when this process ends.
    distributed.destroy_process_group()


def rank_of_environment() -> int:
    """Return the rank that torchrun's environment gives this process; 0 without it."""
    return _environment_number("RANK", 0)


def _environment_number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"environment variable {name}={text!r}; expected a whole number, as torchrun sets it")
    return int(text)
