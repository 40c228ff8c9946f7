"""Run folders: written state comes back, and every kind of damage is an error of one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shapeprior.errors import CheckpointError
from shapeprior.models.checkpoint import Checkpoint, RunConfig, read_checkpoint, write_checkpoint
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.presets import DecoderConfig, TrainConfig, build_decoder, presets
from shapeprior.models.triplane import TriplaneConfig

DEEPSDF = DeepSdfConfig(code_size=3, width=12)
TRIPLANE = TriplaneConfig(code_size=3, base=2, channels=(3, 2), width=4)
META = {"format": "shapeprior-run", "version": "1", "epoch": "7"}


def make_run(run: Path, decoder: DecoderConfig = DEEPSDF) -> tuple[RunConfig, Checkpoint]:
    """Write a run of two shapes."""
    config = RunConfig(decoder=decoder, train=TrainConfig(), seed=5, shape_ids=("a", "b/c"), dataset={"settings": {}})
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(config.to_json()))
    checkpoint = Checkpoint(
        epoch=7,
        decoder=build_decoder(
            decoder, seed=11
        ),  # Another seed than the config's: building the decoder again does not pass for reading it.
        codes=torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.5, 1e-20]]).repeat(1, decoder.code_size)[:, : decoder.code_size],
        optimizer={"codes.step": torch.tensor(14.0), "codes.exp_avg": torch.ones(2, 3)},
    )
    write_checkpoint(run, checkpoint)
    return config, checkpoint


def refusal(run: Path, named: Path) -> str:
    """Read the run as `load` does, and return the error: one line that names a file."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(run, RunConfig.read(run))
    text = str(caught.value)
    assert str(named) in text
    assert "\n" not in text
    assert "; " in text  # It says what was found; what was expected; what to do.
    return text


@pytest.mark.parametrize("decoder", [DEEPSDF, TRIPLANE])
def test_what_was_written_comes_back_bit_for_bit(tmp_path: Path, decoder: DecoderConfig) -> None:
    config, written = make_run(tmp_path, decoder)
    assert RunConfig.read(tmp_path) == config
    found = read_checkpoint(tmp_path, config)
    assert found.epoch == 7
    assert torch.equal(found.codes, written.codes)
    expected = written.decoder.state_dict()
    assert list(found.decoder.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in found.decoder.state_dict().items())
    assert sorted(found.optimizer) == ["codes.exp_avg", "codes.step"]
    assert torch.equal(found.optimizer["codes.exp_avg"], torch.ones(2, 3))
    points = torch.rand(2, 10, 3)
    assert torch.equal(found.decoder(found.codes, points), written.decoder(written.codes, points))


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    """It is written twelve times, since an order that chance decides would be right once in a while."""
    files = set()
    for _ in range(12):
        make_run(tmp_path)
        files.add((tmp_path / "checkpoint.safetensors").read_bytes())
    assert len(files) == 1
    assert load_file(tmp_path / "checkpoint.safetensors")["codes"].shape == (2, 3)
    assert not list(tmp_path.glob(".*"))  # No temporary file stays.


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, share: float) -> None:
    make_run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "truncated or not a checkpoint" in refusal(tmp_path, path)


@pytest.mark.parametrize("cut", [1, 8])
def test_last_bytes_missing_or_too_many(tmp_path: Path, cut: int) -> None:
    make_run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    data = path.read_bytes()
    for broken in (data[:-cut], data + b"\0" * cut):
        path.write_bytes(broken)
        refusal(tmp_path, path)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(tmp_path: Path, seed: int) -> None:
    make_run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(np.random.default_rng(seed).bytes(1000 * seed + 9))
    refusal(tmp_path, path)


def test_missing_and_misplaced(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.unlink()
    assert "missing" in refusal(tmp_path, path)
    path.mkdir()
    refusal(tmp_path, path)


def test_no_run_at_all(tmp_path: Path) -> None:
    assert "config.json: No such file" in refusal(tmp_path / "nowhere", tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    refusal(tmp_path / "file", tmp_path / "file")


def change_tensors(run: Path, change: Callable[[dict[str, Any]], object], **meta: str) -> Path:
    path = run / "checkpoint.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {**META, **meta})
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.update({"codes": torch.zeros(3, 3)}), r"codes is (3, 3); expected (2, 3)"),
        (lambda t: t.update({"codes": torch.zeros(2, 4)}), r"codes is (2, 4)"),
        (lambda t: t.pop("codes"), "codes is None"),
        (lambda t: t.pop("decoder.output.bias"), "decoder.output.bias is None"),
        (lambda t: t["decoder.hidden.3.bias"].__setitem__(1, float("nan")), "decoder.hidden.3.bias holds NaN"),
        (lambda t: t["codes"].__setitem__((0, 0), float("-inf")), "codes holds NaN, infinity"),
        (lambda t: t.update({"codes": torch.zeros(2, 3, dtype=torch.int64)}), "integers"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, change: Callable[[dict[str, Any]], object], text: str) -> None:
    make_run(tmp_path)
    assert text in refusal(tmp_path, change_tensors(tmp_path, change))


@pytest.mark.parametrize(
    "meta", [{"version": "2"}, {"format": "other"}, {"epoch": "many"}, {"epoch": ""}, {"epoch": "-3"}]
)
def test_other_versions_and_formats(tmp_path: Path, meta: dict[str, str]) -> None:
    make_run(tmp_path)
    text = refusal(tmp_path, change_tensors(tmp_path, lambda _: None, **meta))
    assert next(iter(meta.values())) in text


def test_a_file_of_someone_else(tmp_path: Path) -> None:
    make_run(tmp_path)
    save_file({"weight": torch.zeros(2)}, tmp_path / "checkpoint.safetensors")
    assert "format None" in refusal(tmp_path, tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["decoder"].update(code_sise=3), "did you mean 'code_size'"),
        (lambda c: c["decoder"].update(kind="nerf"), "decoder kind 'nerf'; expected one of deepsdf, triplane"),
        (lambda c: c["decoder"].pop("kind"), "decoder kind None"),
        (lambda c: c["decoder"].update(width="wide"), "width = 'wide'"),
        (lambda c: c["decoder"].update(skip_layer=9), "skip_layer = 9"),
        (lambda c: c.update(decoder=[1]), "decoder kind None"),
        (lambda c: c["train"].pop("clamp"), "no key 'clamp'"),
        (lambda c: c["train"].update(epochs=0), "epochs = 0"),
        (lambda c: c.update(version=2), "expected ('shapeprior-run', 1)"),
        (lambda c: c.pop("format"), "'format'"),
        (lambda c: c.update(seed=None), "not a run's config"),
        (lambda c: c.update(seed=float("inf")), "not a run's config"),
        (lambda c: c.update(shape_ids=3), "not a run's config"),
        (lambda c: c.update(dataset=3), "not a run's config"),
        (lambda c: c.clear(), "'format'"),
    ],
)
def test_configs_that_do_not_fit(tmp_path: Path, change: Callable[[dict[str, Any]], object], text: str) -> None:
    make_run(tmp_path)
    path = tmp_path / "config.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    assert text in refusal(tmp_path, path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000])
def test_configs_that_are_no_json_object(tmp_path: Path, data: bytes) -> None:
    make_run(tmp_path)
    (tmp_path / "config.json").write_bytes(data)
    refusal(tmp_path, tmp_path / "config.json")


@pytest.mark.parametrize("decoder", [DEEPSDF, TRIPLANE])
def test_half_precision_without_optimizer_is_enough_for_use(tmp_path: Path, decoder: DecoderConfig) -> None:
    config, written = make_run(tmp_path, decoder)

    def halve(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            value = tensors.pop(name)
            if not name.startswith("optimizer."):
                tensors[name] = value.half()

    change_tensors(tmp_path, halve)
    found = read_checkpoint(tmp_path, config)
    assert found.optimizer == {}
    assert found.codes.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in found.decoder.state_dict().values())
    points = torch.rand((2, 50, 3), generator=torch.Generator().manual_seed(0))
    difference = found.decoder(found.codes, points) - written.decoder(written.codes, points)
    assert 0.0 < difference.abs().max() < 0.02


HUGE = [
    (DEEPSDF, {"width": 10**6}),
    (DEEPSDF, {"width": 10**13}),
    (DEEPSDF, {"width": 10**30}),
    (DEEPSDF, {"layers": 10**9}),
    (DEEPSDF, {"width": 2 * 10**7, "code_size": 10**7}),
    (TRIPLANE, {"channels": [10**5, 10**5]}),
    (TRIPLANE, {"channels": [1] * 20_000}),
    (TRIPLANE, {"base": 10**6}),
    (TRIPLANE, {"width": 10**5}),
    (TRIPLANE, {"volume": 10**9}),
    (TRIPLANE, {"code_size": 10**9}),
]


@pytest.mark.parametrize(("decoder", "sizes"), HUGE, ids=lambda value: str(value)[:40])
def test_a_huge_decoder_is_refused_before_memory_is_asked_for(
    tmp_path: Path, decoder: DecoderConfig, sizes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's config.json would fill the memory, or make modules for hours; the checkpoint beside it is small."""
    make_run(tmp_path, decoder)
    path = tmp_path / "config.json"
    value = json.loads(path.read_text())
    value["decoder"].update(sizes)
    path.write_text(json.dumps(value))
    numbers, modules = 0, 0
    empty_like, empty, begin = torch.empty_like, torch.empty, torch.nn.Module.__init__

    def count_numbers(result: torch.Tensor) -> torch.Tensor:
        nonlocal numbers
        numbers += 0 if result.device.type == "meta" else result.numel()
        return result

    def count_modules(self: torch.nn.Module, *args: Any, **options: Any) -> None:
        nonlocal modules
        modules += 1
        begin(self, *args, **options)

    held = load_file(tmp_path / "checkpoint.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty_like", lambda *args, **options: count_numbers(empty_like(*args, **options)))
        patch.setattr(torch, "empty", lambda *args, **options: count_numbers(empty(*args, **options)))
        patch.setattr(torch.nn.Module, "__init__", count_modules)
        text = refusal(tmp_path, tmp_path)
    assert "config.json" in text
    assert numbers == 0
    assert modules <= 10 * len(held)


@pytest.mark.parametrize("name", list(presets()))
def test_the_decoder_of_every_preset_is_read_without_drawing_weights(name: str, tmp_path: Path) -> None:
    config, written = make_run(tmp_path, presets()[name].decoder)
    found = read_checkpoint(tmp_path, config)
    expected = written.decoder.state_dict()
    assert found.decoder.state_dict().keys() == expected.keys()
    for key, value in found.decoder.state_dict().items():
        assert torch.equal(value, expected[key])
        assert value.stride() == expected[key].stride()
    assert all(parameter.requires_grad for parameter in found.decoder.parameters())
    assert len(expected) >= config.decoder.min_tensors
