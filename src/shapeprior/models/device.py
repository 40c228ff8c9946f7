"""Where the work is done: a device as PyTorch names it.

Training in bfloat16 where the device multiplies in it.
"""

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from shapeprior.errors import ConfigError, error_text


def usable_device(name: str) -> torch.device:
    """The device of this name, such as cpu, cuda, cuda:1 or mps. Raises ConfigError if it cannot be used here."""
    try:
        place = torch.zeros(1, device=name).device
    # torch raises an AssertionError for a kind of device that it was built without.
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device '{name}' cannot be used ({error_text(error)}); expected one such as cpu, cuda, mps"
        ) from None
    if place.type == "meta":
        raise ConfigError("device 'meta' cannot be used (it holds no numbers); expected one such as cpu, cuda, mps")
    return place


PrecisionName = Literal["auto", "float32", "bfloat16"]


def autocast(device: torch.device, precision: PrecisionName) -> AbstractContextManager[Any]:
    """Within this, torch multiplies matrices in bfloat16 if `precision` says so, or is auto and the device does it well.

    Decoders keep coordinates, codes and their output in float32: eight bits of a coordinate would be an error of 0.004 radii.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=product_type(device, precision) == torch.bfloat16)


def product_type(device: torch.device, precision: PrecisionName) -> torch.dtype:
    """The type that products are to be made in: bfloat16 if `precision` says so, or is auto and the device does it well."""
    wanted = precision == "bfloat16" or (precision == "auto" and multiplies_bfloat16(device))
    return torch.bfloat16 if wanted else torch.float32


def exact(device: torch.device) -> AbstractContextManager[Any]:
    """Within this, products are in the type of their factors, whatever `autocast` says around it."""
    return torch.autocast(device.type, enabled=False)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products in bfloat16; a CPU without them is tens of times slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # There since torch 2.10; older ones say it of x86 alone.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return bool(torch.cpu._is_avx512_bf16_supported())
    # Arm processors have such instructions, too; what torch makes of them was not measured, so that they stay with float32.
    found = capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
