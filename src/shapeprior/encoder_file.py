"""The encoder of a prior on disk: encoder.safetensors beside the checkpoint (docs/formats.md)."""

import hashlib
import json
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from shapeprior.checkpoint import sorted_header
from shapeprior.config import config_from_json, config_to_json
from shapeprior.encoder import EncoderConfig, ViewEncoder
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.io.files import write_bytes

NAME = "encoder.safetensors"
FORMAT, VERSION = "shapeprior-encoder", "1"
AGAIN = "run `shapeprior train-encoder` on the prior, with --data and its data set if that is there, or remove the file"


def write_encoder(run: Path, encoder: ViewEncoder, codes: Float[Tensor, "shapes code"]) -> Path:
    """Write it, in half precision and atomically, with a hash of the codes that it was trained for. Raises OutputError."""
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(config_to_json(encoder.config), sort_keys=True),
        "codes": _digest(codes),
    }
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in encoder.state_dict().items()}
    path = run / NAME
    write_bytes(path, sorted_header(save(tensors, metadata)))
    return path


def read_encoder(run: Path, codes: Float[Tensor, "shapes code"]) -> ViewEncoder | None:
    """The encoder of these codes; None if there is no file. Raises CheckpointError for a broken one, or one of other codes."""
    path = run / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = (metadata.get("format"), metadata.get("version"))
            if found != (FORMAT, VERSION):
                raise CheckpointError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; {AGAIN}")
            if metadata.get("codes") != _digest(codes):
                raise CheckpointError(
                    f"{path}: trained for other codes than the checkpoint's; expected the same; {AGAIN}"
                )
            config = config_from_json(EncoderConfig, json.loads(metadata.get("config", "")), where=f"{path}: config")
            # Without memory: the file may ask for any size.
            with torch.device("meta"):
                expected = {name: tuple(value.shape) for name, value in ViewEncoder(config).state_dict().items()}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
            if shapes != expected or config.code_size != codes.shape[1]:
                raise CheckpointError(
                    f"{path}: not the weights of its config; expected an encoder of these codes; {AGAIN}"
                )
            tensors = {name: file.get_tensor(name).float() for name in shapes}
    except (OSError, SafetensorError, ConfigError, ValueError, RecursionError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no readable encoder ({error}); expected a safetensors file; {AGAIN}") from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; expected finite weights; {AGAIN}")
    encoder = ViewEncoder(config)
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _digest(codes: Float[Tensor, "shapes code"]) -> str:
    """Of the codes in half precision, in which bundled priors keep them."""
    return hashlib.sha256(codes.detach().cpu().half().numpy().tobytes()).hexdigest()
