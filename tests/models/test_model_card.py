"""The model card: YAML that another library reads, figures of the run, and no more of the machine than its
processor."""

import getpass
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from shapeprior.completion.registry import bundled_folder
from shapeprior.errors import OutputError
from shapeprior.models.checkpoint import RunConfig
from shapeprior.models.deepsdf import DeepSdfConfig
from shapeprior.models.model_card import HUB_LICENSES, write_model_card
from shapeprior.models.presets import TrainConfig


def config(**changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "decoder": DeepSdfConfig(code_size=2, width=16),
        "train": TrainConfig(epochs=7),
        "seed": 5,
        "shape_ids": ("mug/a", "mug/b", "bowl/c"),
        "dataset": {
            "settings": {"prepare": {"up": "y", "sampling": {"near": 9400}}, "seed": 3},
            "samples_sha256": "ab",
        },
    }
    return RunConfig(**(fields | changes))


def written(run: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """Write a card and return its front matter and body."""
    path = write_model_card(run, options.pop("config", config()), seconds=options.pop("seconds", 3725.4), **options)
    assert path == run / "README.md"
    start, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert start == ""
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    front, _ = written(tmp_path, license="MIT")
    assert front["license"] == "mit"
    assert front["library_name"] == "shapeprior"
    assert {"deepsdf", "shape-completion", "signed-distance-function"} <= set(front["tags"])
    assert all(isinstance(tag, str) for tag in front["tags"])


@pytest.mark.parametrize(
    "name", ['My "own" terms: see #1', "no\nlicense: mit\n---\nbody", "ja", "CC BY 4.0 (ShapeNet)"]
)
def test_any_other_licence_is_quoted_and_cannot_say_anything_else(tmp_path: Path, name: str) -> None:
    front, body = written(tmp_path, license=name)
    assert front["license"] == "other"
    assert front["license_name"] == " ".join(name.split())
    assert " ".join(name.split()) in body


def test_without_a_licence_none_is_claimed(tmp_path: Path) -> None:
    front, body = written(tmp_path)
    assert "license" not in front
    assert "stated none" in body
    assert not any(name in body.lower().split() for name in HUB_LICENSES)


def test_data_training_time_and_scores_are_told(tmp_path: Path) -> None:
    _, body = written(tmp_path, metrics={"chamfer_l1": 0.0123456, "iou": 0.5})
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in body.splitlines()
        if line.startswith("| ") and len(cells := line.strip("| ").split(" | ")) == 2
    }
    assert rows["training shapes"] == "3"
    assert rows["categories"] == "bowl, mug"
    assert rows["prepare.sampling.near"] == "9400"
    assert rows["epochs"] == "7"
    assert rows["seed"] == "5"
    assert rows["decoder.code_size"] == "2"
    assert rows["training time"] == "1 h 2 min"
    assert rows["chamfer_l1"] == "0.01235"
    assert rows["iou"] == "0.5"
    assert rows["machine"].endswith(("core", "cores"))


def test_stated_categories_come_before_folders(tmp_path: Path) -> None:
    dataset = {"settings": {}, "categories": ["chair|odd", ""]}
    _, body = written(tmp_path, config=config(dataset=dataset), seconds=59.6)
    assert "| categories | chair\\|odd |" in body
    assert "| training time | 1 min 0 s |" in body


def test_no_name_of_the_machine_or_of_a_folder_gets_out(tmp_path: Path) -> None:
    _, body = written(tmp_path)
    for private in (socket.gethostname(), str(tmp_path), os.getcwd(), f"/{getpass.getuser()}"):
        assert private not in body


def test_settings_of_any_form_are_told(tmp_path: Path) -> None:
    for dataset in ({}, {"settings": None}, {"settings": [1]}, {"settings": {"a": [1, {"b": 2}], "c": None}}):
        written(tmp_path, config=config(dataset=dataset))


@pytest.mark.parametrize("family", ["can", "mug"])
def test_bundled_priors_have_cards_of_the_same_make(tmp_path: Path, family: str) -> None:
    found = RunConfig.read(bundled_folder() / "priors" / family)
    _, body = written(tmp_path, config=found)
    assert f"| training shapes | {len(found.shape_ids)} |" in body
    assert "triplane" in body


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="README"):
        write_model_card(tmp_path / "file", config(), seconds=1.0)
