"""The files of a run folder: config.json says what was trained on what, checkpoint.safetensors holds the numbers.

One safetensors file holds weights, codes and optimiser state together, so that they cannot disagree. Writing replaces
the old file atomically. docs/formats.md describes the format on one page.

Neither file is trusted. A small config.json may describe a decoder with a million layers, so `read_checkpoint` first
builds the decoder on torch's meta device, which has shapes but no memory, and compares it with the tensors in the
checkpoint.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

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
    expected="a run folder with its config.json",
    advice="make one with `shapeprior train DATASET --out RUN`",
    max_bytes=MAX_LIST_BYTES,
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes."""

    decoder: DecoderConfig
    """Kind and size of the decoder."""
    train: TrainConfig
    """The training recipe."""
    seed: int
    """Seed of weights, codes and batches."""
    shape_ids: tuple[str, ...]
    """Training shapes, in the row order of the codes."""
    dataset: dict[str, Any]
    """Settings of the data set that was trained on, and the hash of its training samples."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with format and version."""
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
        """Read config.json. Raises CheckpointError if it is missing, broken or of another version."""
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


def _decoder_kind(value: object, path: Path) -> type[DecoderConfig]:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in DECODER_KINDS:
        raise ConfigError(f"{path}: decoder kind {kind!r}; expected one of {', '.join(DECODER_KINDS)}")
    return DECODER_KINDS[kind]


@dataclass(kw_only=True)
class Checkpoint:
    """The state of a run after some epochs."""

    epoch: int
    """Number of finished epochs."""
    decoder: Decoder
    codes: Tensor
    """The codes of the training shapes, float32, of shape (shapes, code)."""
    optimizer: dict[str, Tensor]
    """Optimiser state by name: `<weight>.exp_avg`, `.exp_avg_sq` and `.step` of the weights that Adam steps,
    `<weight>.momentum` of those that Muon steps, and Adam's state of `codes` with a step count for each row. Empty for
    weights that are made for use alone."""


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a run over the last one. Raises OutputError."""
    tensors = {f"decoder.{name}": value for name, value in checkpoint.decoder.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in checkpoint.optimizer.items()}
    tensors["codes"] = checkpoint.codes
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "epoch": str(checkpoint.epoch)}
    write_bytes(run / "checkpoint.safetensors", with_sorted_header(save(tensors, metadata)))


def with_sorted_header(data: bytes) -> bytes:
    """Sort the header of a safetensors file, so that equal contents are equal bytes.

    safetensors writes the metadata in an order that changes from call to call.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def read_checkpoint(run: str | os.PathLike[str], config: RunConfig) -> Checkpoint:
    """Read the checkpoint of a run; half precision is widened to float32.

    Raises CheckpointError if the file is missing or broken, or does not hold what `config` describes. A decoder larger
    than the tensors in the file is refused before memory is allocated for it.
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
            decoder = _decoder_on_meta(config, shapes, path)
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
    decoder.to_empty(device="cpu").load_state_dict({name: value.float() for name, value in weights.items()})
    return Checkpoint(
        epoch=_epoch(metadata, path),
        decoder=decoder,
        codes=tensors["codes"].float(),
        optimizer={
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        },
    )


def _decoder_on_meta(config: RunConfig, shapes: dict[str, tuple[int, ...]], path: Path) -> Decoder:
    """Build the decoder of config.json without memory, and check that `shapes` are those of its tensors.

    Modules are Python objects even on the meta device, so that their number must be bounded before they are made.
    """
    num_tensors = sum(name.startswith("decoder.") for name in shapes)
    if config.decoder.min_tensors > num_tensors:
        raise CheckpointError(
            f"{path}: {num_tensors} tensors of a decoder; expected {config.decoder.min_tensors} or more by "
            "config.json; train again"
        )
    try:
        with torch.device("meta"):
            decoder = build_decoder(config.decoder, seed=config.seed)
    # torch refuses sizes whose product does not fit into 64 bits.
    except (RuntimeError, TypeError, OverflowError):
        raise CheckpointError(
            f"{path.with_name('config.json')}: the decoder's sizes are too large; expected those of the weights in "
            f"{path.name}; train again"
        ) from None
    expected = {"codes": (len(config.shape_ids), config.decoder.code_size)}
    expected |= {f"decoder.{name}": tuple(value.shape) for name, value in decoder.state_dict().items()}
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise CheckpointError(f"{path}: {name} is {shapes.get(name)}; expected {shape} by config.json; train again")
    return decoder


def _epoch(metadata: dict[str, str], path: Path) -> int:
    found = metadata.get("epoch", "")
    if not found.isdecimal():
        raise CheckpointError(f"{path}: epoch {found!r}; expected a whole number; train again")
    return int(found)
