"""Training: it learns, gives the same bytes every time, and may be stopped and resumed without any change."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training_runs import BOTH, TINY, StoppedRun, checkpoint_bytes, log_of, stop_after

from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.models.checkpoint import Checkpoint, RunConfig
from shapeprior.models.decoder import Decoder
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.objective import Objective, TrainingBatch
from shapeprior.models.presets import DecoderConfig, Preset, TrainConfig, build_decoder
from shapeprior.training import train as train_module
from shapeprior.training import trainer
from shapeprior.training.train import EpochReport, train_prior


def best_constant_loss(data: Dataset) -> float:
    """Return the clamped L1 of the best constant field, with which a network without gradient ends."""
    sdf = (
        np.concatenate([data.samples(shape.id).sdf for shape in data.split("train")]).astype(np.float32).clip(-0.1, 0.1)
    )
    return float(np.abs(sdf - np.median(sdf)).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "fields", "share"),
    [
        (DeepSdfConfig(code_size=4, width=32, layers=4, skip_layer=2), {"decoder_rate": 5e-3, "epochs": 60}, 0.95),
        (TINY["triplane"].decoder, {"decoder_rate": 5e-3, "epochs": 40, "loss": "banded"}, 0.92),
        pytest.param(
            DeepSdfConfig(code_size=4, width=64), {"decoder_rate": 3e-3, "epochs": 150}, 0.6, marks=pytest.mark.slow
        ),
    ],
)
def test_the_loss_falls_below_any_constant_and_codes_part(
    tiny_data: Dataset, tmp_path: Path, decoder: DecoderConfig, fields: dict[str, Any], share: float
) -> None:
    recipe = TrainConfig(shapes_per_batch=1, points_per_shape=600, code_rate=2e-2, code_init_deviation=1e-4)
    reports: list[EpochReport] = []
    preset = Preset(decoder=decoder, train=dataclasses.replace(recipe, **fields))
    train_prior(tiny_data, tmp_path / "run", preset=preset, seed=0, progress=reports.append)
    assert np.mean([report.loss for report in reports[-3:]]) < share * best_constant_loss(tiny_data) < reports[0].loss
    codes = load(tmp_path / "run").codes
    assert codes.shape == (4, 4)
    assert torch.pdist(codes).min() > 0.003  # They started 0.0001 apart: each shape got a code of its own.
    assert reports[-1].code_length == pytest.approx(float(codes.norm(dim=1).mean()), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_small_deepsdf_starts_within_the_clamp(seed: int) -> None:
    """A field beyond the clamp everywhere would never get a gradient."""
    decoder = DeepSdfDecoder(DeepSdfConfig(code_size=4, width=64), seed=seed)
    points = torch.rand((1, 500, 3), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0
    assert decoder(torch.zeros(1, 4), points).detach().abs().max() < 0.1


def test_the_loss_of_the_log_is_the_mean_clamped_difference(tiny_data: Dataset, tmp_path: Path) -> None:
    """The only batch has all samples of all shapes, so that the first loss is that of the untrained decoder."""
    recipe = TrainConfig(epochs=1, shapes_per_batch=4, points_per_shape=10**6)
    preset = Preset(decoder=TINY["deepsdf"].decoder, train=recipe)
    run = train_prior(tiny_data, tmp_path / "run", preset=preset, seed=6)
    decoder = build_decoder(preset.decoder, seed=6)
    codes = torch.randn((4, 4), generator=torch.Generator().manual_seed(7)) * recipe.code_init_deviation
    expected = []
    for code, shape in zip(codes, tiny_data.split("train"), strict=True):
        samples = tiny_data.samples(shape.id)
        with torch.no_grad():
            points = torch.from_numpy(samples.points_unit.astype(np.float32))
            field = decoder(code[None], points[None])[0].numpy()
        expected.append(np.abs(np.clip(field, -0.1, 0.1) - np.clip(samples.sdf.astype(np.float32), -0.1, 0.1)).mean())
    assert log_of(run)[0]["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert RunConfig.read(run).shape_ids == tuple(shape.id for shape in tiny_data.split("train"))


@BOTH
def test_the_same_seed_is_the_same_bytes_whatever_torch_drew_before(
    tiny_data: Dataset, tmp_path: Path, kind: str
) -> None:
    first = train_prior(tiny_data, tmp_path / "first", preset=TINY[kind], seed=1)
    state = torch.get_rng_state()
    torch.manual_seed(77)
    again = train_prior(tiny_data, tmp_path / "again", preset=TINY[kind], seed=1)
    assert torch.equal(torch.get_rng_state(), torch.manual_seed(77).get_state())  # Training drew nothing from it.
    torch.set_rng_state(state)
    other = train_prior(tiny_data, tmp_path / "other", preset=TINY[kind], seed=2)
    assert checkpoint_bytes(first) == checkpoint_bytes(again) != checkpoint_bytes(other)
    assert (first / "config.json").read_bytes() == (again / "config.json").read_bytes()


@BOTH
def test_interrupted_is_uninterrupted_bit_for_bit(tiny_data: Dataset, tmp_path: Path, kind: str) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY[kind], seed=1)
    run = tmp_path / "stopped"
    for epoch in (1, 3):
        with pytest.raises(StoppedRun):
            train_prior(tiny_data, run, preset=TINY[kind], seed=1, progress=stop_after(epoch), checkpoint_seconds=0.0)
    train_prior(tiny_data, run, preset=TINY[kind], seed=1)
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)
    assert [line["epoch"] for line in log_of(run)] == [1, 2, 3, 4]
    for ours, theirs in zip(log_of(run), log_of(whole), strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    seconds = [line["seconds"] for line in log_of(run)]
    assert seconds == sorted(seconds)
    train_prior(tiny_data, run, preset=TINY[kind], seed=1)  # The run is finished, so nothing happens.
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)
    assert len(log_of(run)) == 4


@pytest.mark.parametrize("moment", ["before the checkpoint", "after the checkpoint"])
def test_stopped_beside_the_checkpoint_the_log_stays_whole(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY["deepsdf"], seed=1)
    run, write = tmp_path / "stopped", train_module.write_checkpoint

    def write_and_stop(folder: Path, state: Checkpoint) -> None:
        if state.epoch < 3 or moment == "after the checkpoint":
            write(folder, state)
        if state.epoch == 3:
            raise StoppedRun

    monkeypatch.setattr(train_module, "write_checkpoint", write_and_stop)
    with pytest.raises(StoppedRun):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, checkpoint_seconds=0.0)
    monkeypatch.undo()
    with open(run / "log.jsonl", "a") as log:
        log.write('{"epoch": 4, "ep')  # This line was cut off.
    train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    assert [line["epoch"] for line in log_of(run)] == [1, 2, 3, 4]
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)


def test_stopped_before_the_first_epoch_it_starts(tiny_data: Dataset, tmp_path: Path) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY["deepsdf"], seed=1)
    (tmp_path / "run").mkdir()
    shutil.copy(whole / "config.json", tmp_path / "run")
    assert checkpoint_bytes(
        train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    ) == checkpoint_bytes(whole)


def test_every_epoch_sees_every_shape_once_and_other_samples(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    measure = trainer.batch_objective

    def measure_and_note(decoder: Decoder, codes: torch.Tensor, batch: TrainingBatch, *rest: Any) -> Objective:
        seen.append(batch.sdf.numpy().copy())
        return measure(decoder, codes, batch, *rest)

    monkeypatch.setattr(trainer, "batch_objective", measure_and_note)
    train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    assert [len(batch) for batch in seen] == [3, 1] * 4  # Four shapes in batches of three.
    stored = [tiny_data.samples(shape.id).sdf for shape in tiny_data.split("train")]
    blocks = set()
    for epoch in range(4):
        shapes = []
        for row in np.concatenate(seen[2 * epoch : 2 * epoch + 2]):
            (shape,) = [number for number, sdf in enumerate(stored) if np.isin(row, sdf).all()]
            shapes.append(shape)
            blocks.add(row.tobytes())
        assert sorted(shapes) == [0, 1, 2, 3]
    assert len(blocks) == 16


def test_rates_fall_along_half_a_cosine(tiny_data: Dataset, tmp_path: Path) -> None:
    run = train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    shares = [line["rate"] for line in log_of(run)]
    expected = 0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * np.arange(4) / 4))
    np.testing.assert_allclose(shares, expected)


def test_checkpoints_wait_for_their_time(tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = train_module.write_checkpoint

    def write_and_note(folder: Path, state: Checkpoint) -> None:
        written.append(state.epoch)
        write(folder, state)

    monkeypatch.setattr(train_module, "write_checkpoint", write_and_note)
    for seconds, expected in ((0.0, [0, 1, 2, 3, 4]), (1e6, [0, 4])):
        written.clear()
        train_prior(tiny_data, tmp_path / str(seconds), preset=TINY["deepsdf"], seed=1, checkpoint_seconds=seconds)
        assert written == expected
    assert checkpoint_bytes(tmp_path / "0.0") == checkpoint_bytes(tmp_path / "1000000.0")


def test_stopped_long_after_a_checkpoint_the_log_and_the_numbers_go_back_together(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY["deepsdf"], seed=1)
    run, write = tmp_path / "stopped", train_module.write_checkpoint
    monkeypatch.setattr(
        train_module, "write_checkpoint", lambda folder, state: state.epoch < 2 and write(folder, state)
    )
    with pytest.raises(StoppedRun):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, progress=stop_after(3), checkpoint_seconds=0.0)
    monkeypatch.undo()
    assert [line["epoch"] for line in log_of(run)] == [1, 2, 3]
    train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    assert [line["epoch"] for line in log_of(run)] == [1, 2, 3, 4]
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)


@BOTH
def test_samples_that_are_not_held_train_the_same(tiny_data: Dataset, tmp_path: Path, kind: str) -> None:
    held = train_prior(tiny_data, tmp_path / "held", preset=TINY[kind], seed=1)
    read = train_prior(tiny_data, tmp_path / "read", preset=TINY[kind], seed=1, held_bytes=0)
    assert checkpoint_bytes(held) == checkpoint_bytes(read)


def test_a_finished_run_has_a_model_card(tiny_data: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoppedRun):
        train_prior(tiny_data, run, preset=TINY["triplane"], seed=1, progress=stop_after(2))
    assert not (run / "README.md").exists()
    train_prior(tiny_data, run, preset=TINY["triplane"], seed=1, license="cc-by-4.0")
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card
    assert "| training shapes | 4 |" in card
    assert str(tmp_path) not in card
