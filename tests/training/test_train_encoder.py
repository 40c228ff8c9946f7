"""What an encoder is shown: the training shapes themselves where they are there, and what the decoder makes of codes where not."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.training_runs import TINY

from shapeprior.completion.registry import load
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError, DatasetError
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.training import train_encoder as train_encoder_module
from shapeprior.training.encoder_views import ShapeViews
from shapeprior.training.train import train_prior
from shapeprior.training.train_encoder import EncoderTraining, train_encoder

RECIPE = EncoderTraining(steps=1, views_per_batch=2, points_per_view=16, views_per_shape=1, min_shapes=0)


@pytest.fixture(scope="module")
def tiny_run(tiny_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four codes, hardly trained."""
    return train_prior(tiny_data, tmp_path_factory.mktemp("tiny") / "run", preset=TINY["triplane"], seed=0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[TriangleMesh]:
    """The meshes of which views are taken from here on."""
    meshes: list[TriangleMesh] = []
    render = ShapeViews.render

    def noted(mesh_unit: TriangleMesh, shape: int, **others: object) -> ShapeViews | None:
        meshes.append(mesh_unit)
        return render(mesh_unit, shape, **others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ShapeViews, "render", noted)
    return meshes


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "run"))


def test_with_its_data_set_the_true_meshes_are_shown_each_with_its_own_code(
    tiny_run: Path, tiny_data: Dataset, shown: list[TriangleMesh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = []
    fit = train_encoder_module.fit_encoder

    def noted(views: ShapeViews, whitened: torch.Tensor, **others: object) -> object:
        codes.append(whitened)
        return fit(views, whitened, **others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(train_encoder_module, "fit_encoder", noted)
    train_encoder(copied(tiny_run, tmp_path), data=tiny_data, recipe=RECIPE)
    prior = load(tiny_run, with_encoder=False)
    whitened = prior.space.whiten(prior.codes)
    meshes = [tiny_data.mesh_unit(shape_id) for shape_id in prior.config.shape_ids]
    assert len(shown) == len(codes[0]) == 4
    for mesh, code in zip(shown, codes[0], strict=True):
        (row,) = np.flatnonzero([np.array_equal(mesh.vertices, true.vertices) for true in meshes])
        torch.testing.assert_close(code, whitened[row])


def test_without_it_the_decoders_are(tiny_run: Path, shown: list[TriangleMesh], tmp_path: Path) -> None:
    train_encoder(copied(tiny_run, tmp_path), recipe=RECIPE)
    prior = load(tiny_run, with_encoder=False)
    decoded = [prior.extract(code, resolution=RECIPE.resolution).vertices for code in prior.codes]
    assert len(shown) == 4
    for mesh in shown:
        # Codes were whitened and back, which rounds.
        assert any(
            mesh.vertices.shape == true.shape and np.allclose(mesh.vertices, true, atol=1e-3) for true in decoded
        )


def test_few_shapes_are_joined_by_others_between_them(
    tiny_run: Path, tiny_data: Dataset, shown: list[TriangleMesh], tmp_path: Path
) -> None:
    train_encoder(copied(tiny_run, tmp_path), data=tiny_data, recipe=dataclasses.replace(RECIPE, min_shapes=7))
    assert len(shown) == 7
    shown.clear()
    train_encoder(
        copied(tiny_run, tmp_path / "again"),
        data=tiny_data,
        recipe=dataclasses.replace(RECIPE, min_shapes=3, max_shapes=3),
    )
    assert len(shown) == 3


def test_another_data_set_is_refused(tiny_run: Path, tiny_data: Dataset, tmp_path: Path) -> None:
    fewer = dataclasses.replace(tiny_data, shapes=tiny_data.shapes[1:])
    run = copied(tiny_run, tmp_path)
    with pytest.raises(DatasetError, match=r"not what .* was trained on"):
        train_encoder(run, data=fewer, recipe=RECIPE)
    assert not (run / "encoder.safetensors").exists()


def test_shapes_of_which_there_are_samples_only_are_shown_as_decoded(
    tiny_run: Path, tiny_data: Dataset, shown: list[TriangleMesh], tmp_path: Path
) -> None:
    without = dataclasses.replace(
        tiny_data, shapes=tuple(dataclasses.replace(shape, mesh_sha256=None) for shape in tiny_data.shapes)
    )
    train_encoder(copied(tiny_run, tmp_path), data=without, recipe=RECIPE)
    true = [tiny_data.mesh_unit(shape.id).vertices for shape in tiny_data.split("train")]
    assert len(shown) == 4
    assert not any(np.array_equal(mesh.vertices, vertices) for mesh in shown for vertices in true)


def test_a_prior_without_any_surface_is_refused(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_encoder_module, "_decoded_mesh_unit", lambda *_: None)
    with pytest.raises(CompletionError, match="none of 4 shapes has a surface"):
        train_encoder(copied(tiny_run, tmp_path), recipe=RECIPE)
