"""Training: the auto-decoder of DeepSDF, one code a shape, learnt together with the decoder, by one process or several."""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CheckpointError, ConfigError, DatasetError
from shapeprior.models.checkpoint import RunConfig, read_checkpoint, write_checkpoint
from shapeprior.models.model_card import write_model_card
from shapeprior.models.presets import Preset, TrainConfig
from shapeprior.training.batches import HELD_BYTES, BatchOrder, TrainingSamples
from shapeprior.training.distributed import ProcessGroup, join_process_group
from shapeprior.training.epoch import own_steps, train_epoch
from shapeprior.training.initialization import initial_checkpoint
from shapeprior.training.run import EpochReport, Interruption, TrainLog, begin_or_resume_run
from shapeprior.training.trainer import Trainer, compile_decoder

CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints."""


def train_prior(
    data: Dataset,
    run: str | os.PathLike[str],
    *,
    preset: Preset,
    seed: int,
    device: str = "cpu",
    progress: Callable[[EpochReport], None] | None = None,
    compiled: bool = False,
    license: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    held_bytes: int = HELD_BYTES,
) -> Path:
    """Train a prior on the training split and write the run folder; an interrupted run goes on where it stopped.

    Random numbers follow from the seed, the epoch and the shape alone, so that an interrupted run computes what an uninterrupted
    one would have, and several processes (started by torchrun, see `shapeprior.training.distributed`) what one would have, up to rounding.
    A checkpoint is written at the first end of an epoch that is `checkpoint_seconds` after the last one, and at the end; Ctrl-C
    ends training with the epoch if that takes a few seconds, at once otherwise. `compiled` runs the decoder through
    torch.compile; `license` is what the model card, README.md, says of the weights; samples of at most `held_bytes` stay in
    memory. `progress` is called by the first process.

    Raises DatasetError if there is nothing to train on or a file is broken or gone, CheckpointError if the folder holds another
    run, the numbers diverge or another process has ended, ConfigError if there is no such device, OutputError if the folder cannot
    be written. Whatever happens, the last checkpoint stays whole.
    """
    run = Path(run)
    if seed < 0:
        raise ConfigError(f"seed = {seed}; expected 0 or more")
    with join_process_group(device) as ranks:
        config = _run_config(data, preset, seed)
        order = _batch_order(config, ranks)
        samples = _training_samples(data, config, order, ranks, held_bytes)
        trainer, seconds = _begin_or_resume(run, data, config, order, ranks)
        if compiled and trainer.epoch < preset.train.epochs:
            compile_decoder(trainer.decoder, next(samples.batches(own_steps(order.epoch(0), ranks))), preset.train)
        with Interruption() as interruption:
            seconds = _train(
                trainer, samples, run, seconds, checkpoint_seconds, progress if ranks.first else None, interruption
            )
        if ranks.first:
            write_model_card(run, config, seconds=seconds, license=license)
    return run


def _train(
    trainer: Trainer,
    samples: TrainingSamples,
    run: Path,
    seconds: float,
    checkpoint_seconds: float,
    progress: Callable[[EpochReport], None] | None,
    interruption: Interruption,
) -> float:
    """The epochs that are left, after so many seconds of training; returns the seconds at the end."""
    log, epochs = TrainLog(run / "log.jsonl"), trainer.config.train.epochs
    saved = time.monotonic()
    started = saved - seconds
    while trainer.epoch < epochs:
        share = _rate_share(trainer.epoch, trainer.config.train)
        outcome = train_epoch(
            trainer,
            samples,
            rate_share=share,
            interruption=interruption,
            checkpoint_at=saved + checkpoint_seconds,
        )
        report = EpochReport(
            epoch=trainer.epoch,
            epochs=epochs,
            loss=outcome.loss,
            objective=outcome.objective,
            code_length=outcome.code_length,
            rate=share,
            seconds=time.monotonic() - started,
        )
        # The log goes first: if training is stopped between the two, resuming drops its last lines and repeats their epochs.
        if trainer.ranks.first:
            log.append(report)
        if outcome.due or outcome.interrupted or trainer.epoch == epochs:
            checkpoint = trainer.checkpoint()
            if checkpoint is not None:
                write_checkpoint(run, checkpoint)
            saved = time.monotonic()
        if progress:
            progress(report)
        if outcome.interrupted and trainer.epoch < epochs:
            raise KeyboardInterrupt
    return time.monotonic() - started


def _run_config(data: Dataset, preset: Preset, seed: int) -> RunConfig:
    shapes = data.split("train")
    if not shapes:
        raise DatasetError(f"{data.root}: no shape in the training split; expected at least one; prepare more meshes")
    return RunConfig(
        decoder=preset.decoder,
        train=preset.train,
        seed=seed,
        shape_ids=tuple(shape.id for shape in shapes),
        dataset={
            "settings": data.settings,
            "categories": sorted({shape.category for shape in shapes} - {""}),
            "samples_sha256": data.training_sha256,
        },
    )


def _batch_order(config: RunConfig, ranks: ProcessGroup) -> BatchOrder:
    order = BatchOrder(len(config.shape_ids), shapes_per_batch=config.train.shapes_per_batch, seed=config.seed)
    if ranks.size > order.lanes:
        raise ConfigError(
            f"{ranks.size} processes for batches of {order.lanes} shapes; expected at most one process a shape; "
            "start fewer, or set a larger shapes_per_batch"
        )
    return order


def _training_samples(
    data: Dataset, config: RunConfig, order: BatchOrder, ranks: ProcessGroup, held_bytes: int
) -> TrainingSamples:
    return TrainingSamples(
        data,
        data.split("train"),
        order.owned(ranks.rank, ranks.size),
        points=config.train.points_per_shape,
        device=ranks.device,
        held_bytes=held_bytes,
    )


def _begin_or_resume(
    run: Path, data: Dataset, config: RunConfig, order: BatchOrder, ranks: ProcessGroup
) -> tuple[Trainer, float]:
    """The state to train from, and the seconds of training behind it."""
    path = run / "checkpoint.safetensors"
    if ranks.first:
        begin_or_resume_run(run, config)
        # One process decides how all begin: machines may differ in the last digits of a singular value decomposition.
        if not path.exists():
            write_checkpoint(run, initial_checkpoint(data, data.split("train"), config))
    ranks.wait()
    trainer = Trainer(config, order, ranks, read_checkpoint(run, config), path)
    epochs = ranks.all_gather(torch.tensor([trainer.epoch], dtype=torch.float64)).flatten().tolist()
    if len(set(epochs)) > 1:
        raise CheckpointError(
            f"{run}: the processes read checkpoints of epochs {', '.join(f'{epoch:.0f}' for epoch in epochs)}; expected the same; "
            "choose a folder that all machines share"
        )
    if ranks.first and trainer.epoch > 0:
        logging.getLogger("shapeprior").info(
            "%s: goes on after epoch %d of %d", run, trainer.epoch, config.train.epochs
        )
    return trainer, TrainLog(run / "log.jsonl").trim(trainer.epoch) if ranks.first else 0.0


def _rate_share(epoch: int, settings: TrainConfig) -> float:
    """Half a cosine from 1 to `final_rate_share`."""
    fall = 0.5 * (1.0 + math.cos(math.pi * epoch / settings.epochs))
    return settings.final_rate_share + (1.0 - settings.final_rate_share) * fall
