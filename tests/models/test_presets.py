"""Presets: each can be built, and has the sizes that the documentation states."""

import dataclasses

import pytest
import torch

from shapeprior.config import config_from_json, config_to_json
from shapeprior.errors import ConfigError
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.presets import Preset, TrainConfig, build_decoder, preset, presets
from shapeprior.models.triplane import TriplaneDecoder


@pytest.mark.parametrize("name", ["deepsdf-256", "triplane-64"])
def test_a_preset_builds_a_decoder_that_answers(name: str) -> None:
    decoder = build_decoder(preset(name).decoder, seed=0)
    assert isinstance(decoder, TriplaneDecoder if name.startswith("triplane") else DeepSdfDecoder)
    assert decoder(torch.zeros(2, decoder.code_size), torch.zeros(2, 3, 3)).shape == (2, 3)


def test_the_names_and_sizes_that_documents_state() -> None:
    assert list(presets()) == ["deepsdf-256", "deepsdf-512", "triplane-64", "triplane-64-sheets"]
    small, original = preset("deepsdf-256"), preset("deepsdf-512")
    assert isinstance(small.decoder, DeepSdfConfig)
    assert isinstance(original.decoder, DeepSdfConfig)
    assert (small.decoder.code_size, small.decoder.width) == (64, 256)
    assert (original.decoder.code_size, original.decoder.width) == (128, 512)
    # "30 passes over 10,000 samples a shape", in blocks.
    assert small.train.epochs * small.train.points_per_shape / 10_000 == pytest.approx(30, rel=0.05)
    assert (small.train.loss, small.train.clamp) == ("clamped", 0.1)  # DeepSDF's.


@pytest.mark.parametrize("name", list(presets()))
def test_presets_survive_json(name: str) -> None:
    chosen: Preset = preset(name)
    for config in (chosen.decoder, chosen.train):
        assert config_from_json(type(config), config_to_json(config), where="test") == config


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'triplane'.*deepsdf-256, deepsdf-512, triplane-64"):
        preset("triplane")


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"shapes_per_batch": 0},
        {"points_per_shape": -1},
        {"decoder_rate": 0.0},
        {"code_rate": float("nan")},
        {"clamp": float("inf")},
        {"code_prior": -1e-4},
        {"final_rate_share": 1.5},
    ],
)
def test_recipes_outside_their_range_are_refused(fields: dict[str, float]) -> None:
    (name,) = fields
    with pytest.raises(ConfigError, match=f"^{name} = "):
        dataclasses.replace(TrainConfig(), **fields)


def test_an_unknown_loss_in_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="loss = 'squared'; expected one of 'clamped', 'banded'"):
        config_from_json(TrainConfig, {**config_to_json(TrainConfig()), "loss": "squared"}, where="test")
