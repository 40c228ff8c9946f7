"""Building a decoder that a stranger's file describes, without more memory than the file itself pays for."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from shapeprior.decoder import Decoder
from shapeprior.presets import DecoderConfig, build_decoder

BUILDS = 4
"""How often a decoder may make each tensor while it is built: as a layer's, where it comes to lie, and in between."""
MAKERS = ("empty", "zeros", "ones", "full", "rand", "arange", "linspace", "eye", "new_")
"""How the names begin of functions that make a tensor from a size."""


def build_bounded(config: DecoderConfig, *, seed: int, tensors: int, numbers: int) -> Decoder | None:
    """`build_decoder`, but None as soon as it asks for far more than so many tensors, or numbers in all of them.

    A small file may say that its decoder has a million layers, or a million units in each; it is found out before
    memory is asked for.
    """
    try:
        with _Allowance(BUILDS * tensors, BUILDS * numbers):
            return build_decoder(config, seed=seed)
    # torch refuses sizes that no machine can count.
    except (_UsedUpError, RuntimeError, TypeError, OverflowError):
        return None


class _UsedUpError(Exception):
    """More was asked for than is allowed."""


class _Allowance(TorchFunctionMode):
    """Counts what is made, before it is."""

    def __init__(self, tensors: int, numbers: int) -> None:
        super().__init__()
        self._tensors, self._numbers = tensors, numbers

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").startswith(MAKERS):
            # Made without memory first, to learn the size; a generator fits no other device than its own.
            sized = {name: value for name, value in kwargs.items() if name not in ("generator", "device", "pin_memory")}
            self._tensors -= 1
            self._numbers -= func(*args, **sized, device=torch.device("meta")).numel()
            if min(self._tensors, self._numbers) < 0:
                raise _UsedUpError
        return func(*args, **kwargs)
