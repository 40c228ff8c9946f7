"""Devices by name, and the precision of matrix products on them."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from shapeprior.errors import ConfigError, error_text

PrecisionName = Literal["auto", "float32", "bfloat16"]


def usable_device(name: str) -> torch.device:
    """Return the device of this name, such as cpu, cuda, cuda:1 or mps. Raises ConfigError if it cannot be used
    here."""
    try:
        device = torch.zeros(1, device=name).device
    # torch raises an AssertionError for a kind of device that it was built without.
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device '{name}' cannot be used ({error_text(error)}); expected one such as cpu, cuda, mps"
        ) from None
    if device.type == "meta":
        raise ConfigError("device 'meta' cannot be used (it holds no numbers); expected one such as cpu, cuda, mps")
    return device


def autocast(device: torch.device, precision: PrecisionName) -> AbstractContextManager[Any]:
    """Return a context in which torch computes matrix products in the type that `matmul_dtype` chooses.

    Decoders keep coordinates, codes and their output in float32: with bfloat16's eight bits, a coordinate would be off
    by 0.004 radii.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=matmul_dtype(device, precision) == torch.bfloat16)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which products have the type of their factors, even inside `autocast`."""
    return torch.autocast(device.type, enabled=False)


def matmul_dtype(device: torch.device, precision: PrecisionName) -> torch.dtype:
    """Return the type for matrix products: bfloat16 if asked for, or if `precision` is auto and the device is fast at
    it."""
    wanted = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.bfloat16 if wanted else torch.float32


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the device has instructions for bfloat16 products.

    On a CPU without them, such products take tens of times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # `get_capabilities` exists since torch 2.10; older versions know of x86 alone.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return bool(torch.cpu._is_avx512_bf16_supported())
    # Some Arm processors have such instructions, too. torch's speed with them was not measured, so they stay with
    # float32.
    found = capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
