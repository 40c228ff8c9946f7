"""The tables of the re-implemented work: its figures with their sources, ours measured or read from the priors."""

import json
from pathlib import Path

import pytest
from helpers.html_page import read_page
from PIL import Image

from shapeprior.completion.registry import load
from shapeprior.errors import ConfigError
from shapeprior.evaluation.reproduction.measure import (
    MeasuredPrior,
    ReproductionConfig,
    measure_prior,
    read_made_by,
    training_seeds,
)
from shapeprior.evaluation.reproduction.published import (
    CATEGORIES,
    CHAMFER_X1000,
    INFERENCE,
    PARAMETERS,
    SHAPES,
    Published,
)
from shapeprior.evaluation.reproduction.tables import times_table, training_table, write_reproduction_tables

TINY = ReproductionConfig(categories=("bowl",), count=1, resolutions=(24, 40))


def test_every_published_figure_names_its_source() -> None:
    figures = [*PARAMETERS.values(), *SHAPES.values(), *INFERENCE.values(), *CHAMFER_X1000.values()]
    assert len(figures) == 17
    for figure in figures:
        assert isinstance(figure, Published)
        assert figure.value
        assert figure.source
    assert set(SHAPES) == set(CATEGORIES)


def test_shapes_that_a_prior_was_trained_on_are_refused() -> None:
    for category in CATEGORIES:
        assert training_seeds(read_made_by(category)) == {0}
    with pytest.raises(ConfigError, match="trained on its shapes; expected another"):
        measure_prior("bowl", ReproductionConfig(seed=0))


def test_settings_out_of_range_are_refused() -> None:
    for change in ({"count": 0}, {"seed": -1}, {"categories": ()}, {"resolutions": (1,)}):
        with pytest.raises(ConfigError, match="expected"):
            ReproductionConfig(**change)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_the_tables_and_the_figure_are_written(tmp_path: Path) -> None:
    page = write_reproduction_tables(tmp_path, config=TINY)
    figures = json.loads((tmp_path / "original.json").read_text())
    shape = figures["priors"]["bowl"]["shapes"][0]
    assert shape["failure"] is None
    assert shape["sampling_seconds"] > 0
    assert [entry["resolution"] for entry in shape["decoding_seconds"]][:2] == [24, 40]
    # An unseen shape from one view is completed neither perfectly nor badly.
    assert 1.0 < shape["chamfer_x1000"] < 200.0
    with Image.open(tmp_path / "original.png") as picture:
        assert picture.width == 3 * 512
    reader = read_page(page)
    for words in ("Training parameters", "Time an object", "16.5 s (0.275 min)", "not stated", "0.015 (Muon)", "51.05"):
        # The published Chamfer distance 51.05 is that of the mug, which is not measured here.
        assert (words in reader.shown) == (words != "51.05"), words
    text = (tmp_path / "original.md").read_text()
    assert sum(line.startswith("| ---") for line in text.splitlines()) == 3
    assert "![Truth, partial view and reconstruction of bowl](original.png)" in text


@pytest.mark.slow
def test_our_side_is_read_from_the_prior() -> None:
    prior, made_by = load("mug"), read_made_by("mug")
    measured = [MeasuredPrior(category="mug", prior=prior, made_by=made_by, shapes=())]
    table = training_table(measured)
    rows = {row[0]: row[1:] for row in table.rows}
    sampling = prior.config.dataset["settings"]["prepare"]["sampling"]
    count = sum(sampling[kind] for kind in ("near", "uniform", "edges", "walls", "surface"))
    assert rows["SDF samples a shape"][1] == f"{count:,}"
    assert rows["epochs"][1] == str(made_by["epochs"])
    assert rows["training shapes"][1] == f"{len(prior.config.shape_ids):,}"
    assert rows["training shapes"][0] == "mug 214 (data/extract_sdf.ipynb)"
    assert rows["weights"] == ("not stated", f"{sum(p.numel() for p in prior.decoder.parameters()):,}")
    assert f"{made_by['training_seconds'] / 60:.1f} min" in rows["training time"][1]
    # Published times stand only beside the resolution that they were measured at.
    times = {row[0]: row[1] for row in times_table(measured, ReproductionConfig()).rows}
    assert times["code to mesh at 512³, CPU"] == "Xeon CPU: 67.7 min (img/inference_time.png)"
    assert times["code to mesh at 256³, CPU"] == "not stated"
    assert any("A100: 14 s (0.24 min)" in published for published in times.values())
