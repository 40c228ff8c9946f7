"""A decoder compiled for its device (torch.compile)."""

import torch

from shapeprior.errors import ConfigError
from shapeprior.models.decoder import Decoder
from shapeprior.models.objective import TrainingBatch, batch_objective
from shapeprior.models.presets import TrainConfig


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
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"this decoder cannot be compiled here ({type(error).__name__}: {reason}); expected a C++ compiler (on the CPU) or "
            "Triton (on CUDA) and a loss that both know; train without --compile"
        ) from None
    decoder.zero_grad(set_to_none=True)
