"""The synsets of ShapeNetCore."""

import re

from shapeprior.datasets.shapenet import SYNSETS, category_name, is_synset


def test_the_table_is_that_of_both_versions() -> None:
    # The technical report counts 55 categories; version 1 has two folders more.
    assert len(SYNSETS) == 55 + 2
    assert list(SYNSETS) == sorted(SYNSETS)
    assert len(set(SYNSETS.values())) == len(SYNSETS)
    assert all(is_synset(synset) and re.fullmatch("[a-z]+(_[a-z]+)?", word) for synset, word in SYNSETS.items())


def test_well_known_synsets() -> None:
    # Those of DeepSDF's splits and of Choy et al. 2016 ("3D-R2N2"), which most papers repeat.
    known = {
        "02691156": "airplane",
        "02828884": "bench",
        "02933112": "cabinet",
        "02958343": "car",
        "03001627": "chair",
        "03211117": "display",
        "03636649": "lamp",
        "03691459": "loudspeaker",
        "04090263": "rifle",
        "04256520": "sofa",
        "04379243": "table",
        "04401088": "telephone",
        "04530566": "watercraft",
        "03797390": "mug",
    }
    assert {synset: category_name(synset) for synset in known} == known


def test_what_is_no_known_synset_keeps_its_name() -> None:
    assert category_name("01234567") == "01234567"
    assert is_synset("01234567")
    for name in ("1234567", "012345678", "0123456a", "mug", "", "\u0661" * 8):
        assert not is_synset(name)
        assert category_name(name) == name
