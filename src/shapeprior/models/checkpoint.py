"""A run folder: config.json says what was trained on what, checkpoint.safetensors holds the numbers.

One safetensors file has weights, codes and optimiser state together, so that they can never disagree; it replaces its
predecessor atomically. The format is on one page, docs/formats.md.

Building a decoder that a stranger's file describes, without more memory than the file itself pays for.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shapeprior.config import config_from_json, config_to_json
from shapeprior.errors import CheckpointError, ConfigError
from shapeprior.io.files import MAX_LIST_BYTES, FileSpec, write_bytes
from shapeprior.models.decoder import Decoder
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import DecoderConfig, TrainConfig, build_decoder
from shapeprior.models.triplane import TriplaneConfig

FORMAT = "shapeprior-run"
VERSION = 1
DECODER_KINDS: dict[str, type[DecoderConfig]] = {"deepsdf": DeepSdfConfig, "triplane": TriplaneConfig}
_CONFIG_FILE = FileSpec(
    error=CheckpointError,
    expected="the settings of a run",
    advice="make a run with `shapeprior train DATASET --out RUN`",
    max_bytes=MAX_LIST_BYTES,
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes."""

    decoder: DecoderConfig
    """The decoder's size."""
    train: TrainConfig
    """The training recipe."""
    seed: int
    """Seed of weights, codes and batches."""
    shape_ids: tuple[str, ...]
    """Training shapes, in the row order of the codes."""
    dataset: dict[str, Any]
    """Settings of the data set that was trained on, and the hash of its training samples."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with format and version."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "decoder": config_to_json(self.decoder),
            "train": config_to_json(self.train),
            "seed": self.seed,
            "shape_ids": list(self.shape_ids),
            "dataset": self.dataset,
        }

    @classmethod
    def read(cls, run: Path) -> "RunConfig":
        """Read config.json; raises CheckpointError if it is missing, broken or of another version."""
        path = run / "config.json"
        value = _CONFIG_FILE.read_json(path, dict)
        try:
            found = (value["format"], value["version"])
            if found != (FORMAT, VERSION):
                raise CheckpointError(f"{path}: format {found}; expected {(FORMAT, VERSION)}; train again")
            return cls(
                decoder=config_from_json(
                    _decoder_kind(value["decoder"], path), value["decoder"], where=f"{path}: decoder"
                ),
                train=config_from_json(TrainConfig, value["train"], where=f"{path}: train"),
                seed=int(value["seed"]),
                shape_ids=tuple(str(shape_id) for shape_id in value["shape_ids"]),
                dataset=dict(value["dataset"]),
            )
        except ConfigError as error:
            raise CheckpointError(f"{error}; train again") from None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"{path}: not a run's config ({error!r}); train again") from None


@dataclass(kw_only=True)
class Checkpoint:
    """The state of a run after some epochs."""

    epoch: int
    """Epochs finished."""
    decoder: Decoder
    codes: Tensor
    """One row a training shape, float32, shape (shapes, code)."""
    optimizer: dict[str, Tensor]
    """Moments and steps by name: `<weight>.exp_avg`, `.exp_avg_sq`, `.step`, or `.momentum` of those that Muon steps, and Adam's of
    `codes`, with a step count for each row; empty in weights made for use alone."""


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace the run's checkpoint by this one. Raises OutputError."""
    tensors = {f"decoder.{name}": value for name, value in checkpoint.decoder.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in checkpoint.optimizer.items()}
    tensors["codes"] = checkpoint.codes
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "epoch": str(checkpoint.epoch)}
    write_bytes(run / "checkpoint.safetensors", sorted_header(save(tensors, metadata)))


def read_checkpoint(run: str | os.PathLike[str], config: RunConfig) -> Checkpoint:
    """Read the run's checkpoint; half precision is widened. Raises CheckpointError on anything but a whole, matching one.

    Neither file is believed: a decoder larger than what the checkpoint holds is refused before memory is asked for.
    """
    path = Path(run) / "checkpoint.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
            if (metadata.get("format"), metadata.get("version")) != (FORMAT, str(VERSION)):
                raise CheckpointError(
                    f"{path}: format {metadata.get('format')} version {metadata.get('version')}; "
                    f"expected {FORMAT} version {VERSION}; train again"
                )
            decoder = _matching_decoder(config, shapes, path)
            tensors = {name: file.get_tensor(name) for name in shapes}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; expected a checkpoint; run `shapeprior train` first") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: truncated or not a checkpoint ({error}); expected a safetensors file; train again"
        ) from None
    weights = {name: tensors[f"decoder.{name}"] for name in decoder.state_dict()}
    for name, value in [*((f"decoder.{name}", value) for name, value in weights.items()), ("codes", tensors["codes"])]:
        if not value.is_floating_point() or not torch.isfinite(value.float()).all():
            raise CheckpointError(
                f"{path}: {name} holds NaN, infinity or integers; expected finite weights; train again"
            )
    decoder.load_state_dict({name: value.float() for name, value in weights.items()})
    return Checkpoint(
        epoch=_epoch(metadata, path),
        decoder=decoder,
        codes=tensors["codes"].float(),
        optimizer={
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        },
    )


def _matching_decoder(config: RunConfig, shapes: dict[str, tuple[int, ...]], path: Path) -> Decoder:
    """The decoder of config.json, its weights still to be read, if the checkpoint holds tensors of its sizes."""
    expected = {"codes": (len(config.shape_ids), config.decoder.code_size)}
    held = [math.prod(shape) for name, shape in shapes.items() if name.startswith("decoder.")]
    decoder = build_bounded(config.decoder, seed=config.seed, tensors=len(held), numbers=sum(held))
    if decoder is None:
        raise CheckpointError(
            f"{path}: {len(held)} tensors of {sum(held)} weights; expected those of the decoder in config.json, which has far "
            "more; train again"
        )
    expected |= {f"decoder.{name}": tuple(value.shape) for name, value in decoder.state_dict().items()}
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise CheckpointError(f"{path}: {name} is {shapes.get(name)}; expected {shape} by config.json; train again")
    return decoder


def sorted_header(data: bytes) -> bytes:
    """The same file with a header in a fixed order: safetensors writes metadata in one that changes from call to call."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _epoch(metadata: dict[str, str], path: Path) -> int:
    found = metadata.get("epoch", "")
    if not found.isdecimal():
        raise CheckpointError(f"{path}: epoch {found!r}; expected a whole number; train again")
    return int(found)


def _decoder_kind(value: object, path: Path) -> type[DecoderConfig]:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in DECODER_KINDS:
        raise ConfigError(f"{path}: decoder kind {kind!r}; expected one of {', '.join(DECODER_KINDS)}")
    return DECODER_KINDS[kind]


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
