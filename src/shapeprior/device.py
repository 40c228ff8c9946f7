"""Where the work is done: a device as PyTorch names it."""

import torch

from shapeprior.errors import ConfigError


def usable_device(name: str) -> torch.device:
    """The device of this name, such as cpu, cuda, cuda:1 or mps. Raises ConfigError if it cannot be used here."""
    try:
        place = torch.zeros(1, device=name).device
    # torch raises an AssertionError for a kind of device that it was built without.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"device '{name}' cannot be used ({reason}); expected one such as cpu, cuda, mps") from None
    if place.type == "meta":
        raise ConfigError("device 'meta' cannot be used (it holds no numbers); expected one such as cpu, cuda, mps")
    return place
