"""Airplanes: mirror symmetric, and in the frame that docs/conventions.md states."""

import importlib

import numpy as np
import pytest

from shapeprior.datasets.procedural.lofts import unite

# The package has functions of the same names, so the module is imported by its name.
airplanes = importlib.import_module("shapeprior.datasets.procedural.airplane")


@pytest.mark.parametrize("entry", airplanes.TYPES, ids=lambda entry: entry[-1].__name__)
def test_airplanes_are_mirror_symmetric(entry) -> None:
    whole = unite(entry[-1](np.random.default_rng(5)))
    mirrored = whole.mirror((0.0, 0.0, 1.0))
    assert (whole - mirrored).volume() < 1e-4 * whole.volume()


def test_airplanes_face_minus_x_with_the_fin_up() -> None:
    for seed in range(12):
        mesh = airplanes.airplane(np.random.default_rng(seed))
        (x_low, _, z_low), (x_high, y_high, z_high) = mesh.bounds
        length, span = x_high - x_low, z_high - z_low
        assert 0.45 < span / length < 3.0
        # The highest point of all but biplanes and parasol wings is the tail's, in the back third.
        highest = mesh.vertices[mesh.vertices[:, 1] > y_high - 1e-3 * length, 0].mean()
        wing_top = np.abs(mesh.vertices[mesh.vertices[:, 1] > y_high - 1e-3 * length, 2]).max() > 0.3 * span
        assert highest > x_low + 0.5 * length or wing_top
