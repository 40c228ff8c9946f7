"""Training: it learns, it is the same every time, and stopping it changes nothing."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shapeprior import train as train_module
from shapeprior.checkpoint import RunConfig, read_checkpoint
from shapeprior.dataset import Dataset, write_samples
from shapeprior.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.errors import CheckpointError, ConfigError, DatasetError, OutputError
from shapeprior.presets import DecoderConfig, Preset, build_decoder
from shapeprior.prior import load
from shapeprior.sampling import SdfSamples
from shapeprior.train import EpochReport, train_prior
from shapeprior.train_config import TrainConfig
from shapeprior.triplane import TriplaneConfig

SHORT = TrainConfig(epochs=4, shapes_per_batch=3, points_per_shape=200)
TINY = {
    "deepsdf": Preset(decoder=DeepSdfConfig(code_size=4, width=32), train=SHORT),
    "triplane": Preset(
        decoder=TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16),
        train=dataclasses.replace(SHORT, loss="banded", decoder_rate=5e-3, code_rate=3e-2),
    ),
}
BOTH = pytest.mark.parametrize("kind", list(TINY))


class Interruption(Exception):
    """Stands for whatever stops a run."""


def stop_after(epoch: int):
    def progress(report: EpochReport) -> None:
        if report.epoch == epoch:
            raise Interruption

    return progress


def checkpoint_bytes(run: Path) -> bytes:
    return (run / "checkpoint.safetensors").read_bytes()


def log_of(run: Path) -> list[dict[str, float]]:
    text = (run / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def best_constant_loss(data: Dataset) -> float:
    """The clamped L1 of the best field that does not depend on the point: what a network without gradient ends with."""
    sdf = np.concatenate([data.samples(shape.id).sdf for shape in data.split("train")]).clip(-0.1, 0.1)
    return float(np.abs(sdf - np.median(sdf)).mean())


@pytest.mark.parametrize(
    ("decoder", "fields", "share"),
    [
        (DeepSdfConfig(code_size=4, width=32, layers=4, skip_layer=2), {"decoder_rate": 5e-3, "epochs": 30}, 0.95),
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
    assert torch.pdist(codes).min() > 0.003  # From 0.0001: shapes got codes of their own.
    assert reports[-1].code_length == pytest.approx(float(codes.norm(dim=1).mean()), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_small_deepsdf_starts_within_the_clamp(seed: int) -> None:
    """A field that starts beyond the clamp everywhere would never get a gradient."""
    decoder = DeepSdfDecoder(DeepSdfConfig(code_size=4, width=64), seed=seed)
    points = torch.rand((1, 500, 3), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0
    assert decoder(torch.zeros(1, 4), points).detach().abs().max() < 0.1


def test_the_loss_of_the_log_is_the_mean_clamped_difference(tiny_data: Dataset, tmp_path: Path) -> None:
    """One batch of all shapes with all samples: the first epoch's loss is that of the untrained decoder."""
    recipe = TrainConfig(epochs=1, shapes_per_batch=4, points_per_shape=10**6)
    preset = Preset(decoder=TINY["deepsdf"].decoder, train=recipe)
    run = train_prior(tiny_data, tmp_path / "run", preset=preset, seed=6)
    decoder = build_decoder(preset.decoder, seed=6)
    codes = torch.randn((4, 4), generator=torch.Generator().manual_seed(7)) * recipe.code_init_deviation
    expected = []
    for code, shape in zip(codes, tiny_data.split("train"), strict=True):
        samples = tiny_data.samples(shape.id)
        with torch.no_grad():
            field = decoder(code[None], torch.from_numpy(samples.points_unit)[None])[0].numpy()
        expected.append(np.abs(np.clip(field, -0.1, 0.1) - np.clip(samples.sdf, -0.1, 0.1)).mean())
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
    assert torch.equal(torch.get_rng_state(), torch.manual_seed(77).get_state())  # Nothing was drawn from it.
    torch.set_rng_state(state)
    other = train_prior(tiny_data, tmp_path / "other", preset=TINY[kind], seed=2)
    assert checkpoint_bytes(first) == checkpoint_bytes(again) != checkpoint_bytes(other)
    assert (first / "config.json").read_bytes() == (again / "config.json").read_bytes()


@BOTH
def test_interrupted_is_uninterrupted_bit_for_bit(tiny_data: Dataset, tmp_path: Path, kind: str) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY[kind], seed=1)
    run = tmp_path / "stopped"
    for epoch in (1, 3):
        with pytest.raises(Interruption):
            train_prior(tiny_data, run, preset=TINY[kind], seed=1, progress=stop_after(epoch))
    train_prior(tiny_data, run, preset=TINY[kind], seed=1)
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)
    assert [line["epoch"] for line in log_of(run)] == [1, 2, 3, 4]
    for ours, theirs in zip(log_of(run), log_of(whole), strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    seconds = [line["seconds"] for line in log_of(run)]
    assert seconds == sorted(seconds)
    train_prior(tiny_data, run, preset=TINY[kind], seed=1)  # Finished: nothing more happens.
    assert checkpoint_bytes(run) == checkpoint_bytes(whole)
    assert len(log_of(run)) == 4


@pytest.mark.parametrize("moment", ["before the checkpoint", "after the checkpoint"])
def test_stopped_beside_the_checkpoint_the_log_stays_whole(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = train_prior(tiny_data, tmp_path / "whole", preset=TINY["deepsdf"], seed=1)
    run, write = tmp_path / "stopped", train_module.write_checkpoint

    def write_and_stop(folder: Path, state: train_module.Checkpoint) -> None:
        if state.epoch < 3 or moment == "after the checkpoint":
            write(folder, state)
        if state.epoch == 3:
            raise Interruption

    monkeypatch.setattr(train_module, "write_checkpoint", write_and_stop)
    with pytest.raises(Interruption):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    monkeypatch.undo()
    with open(run / "log.jsonl", "a") as log:
        log.write('{"epoch": 4, "ep')  # A line that was cut off.
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
    measure = train_module.clamped_l1

    def measure_and_note(predicted: torch.Tensor, target: torch.Tensor, clamp: float) -> torch.Tensor:
        seen.append(target.numpy().copy())
        return measure(predicted, target, clamp)

    monkeypatch.setattr(train_module, "clamped_l1", measure_and_note)
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


def copy_data(data: Dataset, root: Path) -> Dataset:
    shutil.copytree(data.root, root)
    return Dataset.open(root)


def test_a_folder_holds_one_run(tiny_data: Dataset, tmp_path: Path) -> None:
    run = train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    before = checkpoint_bytes(run)
    longer = dataclasses.replace(TINY["deepsdf"], train=dataclasses.replace(SHORT, epochs=9))
    fewer = dataclasses.replace(tiny_data, shapes=tiny_data.shapes[1:])
    changed = dataclasses.replace(
        tiny_data, shapes=tuple(dataclasses.replace(shape, samples_sha256="0" * 64) for shape in tiny_data.shapes)
    )
    for data, preset, seed in (
        (tiny_data, TINY["deepsdf"], 2),
        (tiny_data, TINY["triplane"], 1),
        (tiny_data, longer, 1),
        (fewer, TINY["deepsdf"], 1),
        (changed, TINY["deepsdf"], 1),
    ):
        with pytest.raises(CheckpointError, match="other settings or other data") as caught:
            train_prior(data, run, preset=preset, seed=seed)
        assert str(run) in str(caught.value)
    assert checkpoint_bytes(run) == before


def test_other_folders_are_left_alone(tiny_data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not empty and not a run"):
        train_prior(tiny_data, tmp_path, preset=TINY["deepsdf"], seed=1)
    with pytest.raises(CheckpointError, match="not empty and not a run"):
        train_prior(tiny_data, tmp_path / "thesis.txt", preset=TINY["deepsdf"], seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError):
        train_prior(tiny_data, tmp_path / "thesis.txt" / "run", preset=TINY["deepsdf"], seed=1)


@BOTH
@pytest.mark.parametrize("field", ["points_unit", "sdf"])
def test_samples_without_a_number_are_refused_before_anything_is_lost(
    tiny_data: Dataset, tmp_path: Path, kind: str, field: str
) -> None:
    data, run = copy_data(tiny_data, tmp_path / "data"), tmp_path / "run"
    with pytest.raises(Interruption):
        train_prior(data, run, preset=TINY[kind], seed=1, progress=stop_after(2))
    before, shape = checkpoint_bytes(run), data.split("train")[1]
    samples = data.samples(shape.id)
    getattr(samples, field)[5] = np.nan
    write_samples(data.root, shape.id, samples)
    with pytest.raises(DatasetError, match=f"{shape.id}.*NaN") as caught:
        train_prior(data, run, preset=TINY[kind], seed=1)
    assert str(data.root) in str(caught.value)
    assert checkpoint_bytes(run) == before
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 2


def test_shapes_with_different_numbers_of_samples(tiny_data: Dataset, tmp_path: Path) -> None:
    data = copy_data(tiny_data, tmp_path / "data")
    shape = data.split("train")[2]
    samples = data.samples(shape.id)
    for kept, text in ((700, "has 700 samples.*has 1200"), (0, "0 samples")):
        fewer = SdfSamples(points_unit=samples.points_unit[:kept].copy(), sdf=samples.sdf[:kept].copy())
        write_samples(data.root, shape.id, fewer)
        with pytest.raises(DatasetError, match=text) as caught:
            train_prior(data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
        assert shape.id in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_nothing_to_train_on(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("test"))
    with pytest.raises(DatasetError, match="no shape in the training split"):
        train_prior(data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)


def test_numbers_that_diverge_leave_the_last_whole_checkpoint(tiny_data: Dataset, tmp_path: Path) -> None:
    preset = dataclasses.replace(TINY["triplane"], train=dataclasses.replace(TINY["triplane"].train, decoder_rate=1e25))
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"not all finite.*lower decoder_rate"):
        train_prior(tiny_data, run, preset=preset, seed=1)
    if (run / "checkpoint.safetensors").exists():
        read_checkpoint(run, RunConfig.read(run))  # Refuses NaN.


def test_weights_that_break_in_the_last_step_of_an_epoch_are_not_saved(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, epoch = tmp_path / "run", train_module._train_epoch

    def epoch_that_breaks(state: train_module.Checkpoint, *rest: Any) -> float:
        loss = epoch(state, *rest)
        if state.epoch == 2:
            state.codes.data[1, 0] = torch.nan
        return loss

    monkeypatch.setattr(train_module, "_train_epoch", epoch_that_breaks)
    with pytest.raises(CheckpointError, match="epoch 3 are not all finite"):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    assert read_checkpoint(run, RunConfig.read(run)).epoch == 2


@pytest.mark.parametrize("drop", ["optimizer.", "optimizer.codes.step", "optimizer.hidden.2.bias.exp_avg"])
def test_weights_for_use_cannot_be_trained_on(tiny_data: Dataset, tmp_path: Path, drop: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interruption):
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1, progress=stop_after(2))
    path = run / "checkpoint.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.startswith(drop)}
    save_file(kept, path, {"format": "shapeprior-run", "version": "1", "epoch": "2"})
    assert load(run).codes.shape == (4, 4)
    with pytest.raises(CheckpointError, match="training cannot go on") as caught:
        train_prior(tiny_data, run, preset=TINY["deepsdf"], seed=1)
    assert str(path) in str(caught.value)


def test_devices_that_do_not_exist_are_refused(tiny_data: Dataset, tmp_path: Path) -> None:
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{device}'"):
            train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1, device=device)
    assert not (tmp_path / "run").exists()


def test_rates_fall_along_half_a_cosine(tiny_data: Dataset, tmp_path: Path) -> None:
    run = train_prior(tiny_data, tmp_path / "run", preset=TINY["deepsdf"], seed=1)
    shares = [line["rate"] for line in log_of(run)]
    expected = 0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * np.arange(4) / 4))
    np.testing.assert_allclose(shares, expected)
