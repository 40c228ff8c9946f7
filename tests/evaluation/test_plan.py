"""The plan of an evaluation: which shapes, conditions and methods it has, and what it refuses."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluated_prior import FAST, hasty
from helpers.plain_geometry import sphere_sdf

from shapeprior.cli.main import main
from shapeprior.datasets.dataset import Dataset
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import ConfigError, DatasetError
from shapeprior.evaluation import baselines
from shapeprior.evaluation.config import parse_baselines, require_choice
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.models.presets import Preset, TrainConfig
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.sdf.sampling import SamplingConfig
from shapeprior.training.train import train_prior

ALL = dataclasses.replace(FAST, tasks=("codes", "full", "view"), baselines=None, training_shapes=2)


@pytest.mark.slow
def test_without_training_shapes_the_baselines_know_what_the_prior_decodes(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("test"))
    config = dataclasses.replace(ALL, baselines=("nearest", "mean"), max_shapes=1, training_shapes=5)
    document = evaluate_prior(hasty(), data, tmp_path, config=config, seed=0)
    assert "5 training shapes as the prior decodes them" in document["methods"]["nearest training shape"]["text"]
    assert {row["method"] for row in document["rows"]} == {"shapeprior", "mean shape", "nearest training shape"}
    assert all(row["failure"] is None and row["task"] != "codes" for row in document["rows"])
    assert "no rows of the task codes" in document["methods"]["shapeprior"]["text"]


@pytest.mark.slow
def test_a_baseline_without_its_library_is_named_or_refused(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    assert not baselines.has_poisson()
    config = dataclasses.replace(FAST, max_shapes=1, baselines=None, training_shapes=2)
    document = evaluate_prior(hasty(), tiny_data, tmp_path / "all", config=config, seed=0)
    assert document["methods"]["screened Poisson"]["not_run"] == "not run: pip install 'shapeprior[poisson]'"
    assert "pip install 'shapeprior[poisson]'" in (tmp_path / "all" / "report.md").read_text(encoding="utf-8")
    assert not any(row["method"] == "screened Poisson" for row in document["rows"])
    with pytest.raises(ConfigError, match=r"baseline poisson: pip install 'shapeprior\[poisson\]' is needed"):
        evaluate_prior(
            hasty(), tiny_data, tmp_path / "asked", config=dataclasses.replace(FAST, baselines=("poisson",)), seed=0
        )
    assert not (tmp_path / "asked").exists()


def test_imported_samples_alone_cannot_be_evaluated_and_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (2000, 3))
    rows = np.column_stack([points, sphere_sdf(points, radius=0.9)]).astype(np.float32)
    for name in ("first", "second", "third"):
        path = tmp_path / "imported" / "SdfSamples" / "ours" / "ball" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, pos=rows[rows[:, 3] > 0], neg=rows[rows[:, 3] <= 0])
    config = PrepareConfig(sampling=SamplingConfig.deepsdf(1000))
    data = prepare_dataset(tmp_path / "imported", tmp_path / "data", config=config, seed=0, workers=0)
    assert len(data.split("test")) == 1
    with pytest.raises(DatasetError, match="1 shapes of split 'test' and no mesh, only samples"):
        evaluate_prior(hasty(), data, tmp_path / "report", config=FAST, seed=0)
    arguments = ["evaluate", "mug", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "report")]
    monkeypatch.setattr(sys, "argv", ["shapeprior", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shapeprior:")]
    assert line.startswith(f"shapeprior: {tmp_path / 'data'}: 1 shapes of split 'test' and no mesh")
    assert line.endswith("evaluate on a data set prepared from meshes")
    assert not (tmp_path / "report").exists()


def test_an_empty_split_is_refused(tiny_data: Dataset, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_data, shapes=tiny_data.split("train"))
    with pytest.raises(DatasetError, match="no shape in split 'test'"):
        evaluate_prior(hasty(), data, tmp_path / "out", config=FAST, seed=0)
    with pytest.raises(DatasetError, match="none of the prior's 25 training shapes"):
        evaluate_prior(hasty(), data, tmp_path / "out", config=dataclasses.replace(FAST, tasks=("codes",)), seed=0)
    with pytest.raises(ConfigError, match="in memory cannot be sent"):
        evaluate_prior(hasty(), tiny_data, tmp_path / "out", config=FAST, seed=0, workers=2)
    assert not (tmp_path / "out").exists()


def test_settings_outside_their_range_are_refused() -> None:
    for fields, text in (
        ({"tasks": ()}, "tasks = none"),
        ({"tasks": ("view", "view")}, "tasks = view, view"),
        ({"views": (0,)}, "views = "),
        ({"views": (2, 2)}, "views = "),
        ({"max_shapes": 0}, "max_shapes = 0"),
        ({"view_resolution": 0}, "view_resolution = 0"),
        ({"resolution": 1}, "resolution = 1"),
    ):
        with pytest.raises(ConfigError, match=text):
            dataclasses.replace(FAST, **fields)
    with pytest.raises(ConfigError, match="split = val; expected different ones of train, test"):
        require_choice("split", ("val",), ("train", "test"))
    assert parse_baselines(()) is None
    assert parse_baselines(("none",)) == ()
    assert parse_baselines(("upper", "mean")) == ("mean", "upper")
    with pytest.raises(ConfigError, match="expected none alone"):
        parse_baselines(("none", "pca"))


def test_a_run_is_listed_with_the_time_that_its_training_took(tiny_data: Dataset, tmp_path: Path) -> None:
    recipe = Preset(
        decoder=TriplaneConfig(code_size=4, base=2, channels=(6, 4), width=16),
        train=TrainConfig(epochs=3, points_per_shape=64),
    )
    train_prior(tiny_data, tmp_path / "run", preset=recipe, seed=0)
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()][-1]
    config = dataclasses.replace(FAST, max_shapes=1, baselines=())
    document = evaluate_prior(
        hasty(), tiny_data, tmp_path / "out", config=config, seed=0, against=[tmp_path / "run"], workers=0
    )
    assert document["methods"]["run"]["text"].endswith(f"trained for 3 epochs in {seconds:.0f} s")
    assert "trained" not in document["methods"]["shapeprior"]["text"]


@pytest.mark.slow
def test_conditions_are_views_and_sensors(tiny_data: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, views=(1, 3), sensors=("clean", "poor"), max_shapes=1)
    rows = evaluate_prior(hasty(), tiny_data, tmp_path, config=config, seed=0)["rows"]
    assert [(row["condition"]["views"], row["condition"]["sensor"], len(row["views"])) for row in rows] == [
        (1, "clean", 1), (1, "poor", 1), (3, "clean", 3), (3, "poor", 3),
    ]  # fmt: skip
    assert rows[0]["views"] == rows[1]["views"] == rows[2]["views"][:1]
    assert len({row["mesh"] for row in rows}) == 4
