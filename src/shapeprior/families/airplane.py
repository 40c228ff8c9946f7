"""Parametric airplanes: airliners, business jets, turboprops, light airplanes, gliders, biplanes, fighters and deltas.

Frame: nose towards −x, +y up, wings along ±z, mirror symmetric in z. A builder works in units of the fuselage's length;
its parameters come from continuous ranges around the proportions of aircraft that flew, so that the types blend into
each other.
"""

from collections.abc import Callable

import numpy as np

from shapeprior.families.airplane_fighters import delta_wing, fighter
from shapeprior.families.airplane_jets import airliner, rear_engine_jet
from shapeprior.families.airplane_propellers import biplane, glider, light_airplane, twin_propeller
from shapeprior.families.airplane_surfaces import Parts
from shapeprior.families.lofts import unite
from shapeprior.families.solids import to_mesh
from shapeprior.geometry.mesh import TriangleMesh

TYPES: tuple[tuple[float, tuple[float, float], Callable[[np.random.Generator], Parts]], ...] = (
    (0.25, (28.0, 75.0), airliner),
    (0.17, (13.0, 55.0), rear_engine_jet),
    (0.17, (9.0, 35.0), twin_propeller),
    (0.17, (6.0, 12.0), light_airplane),
    (0.13, (12.0, 22.0), fighter),
    (0.05, (6.0, 9.0), biplane),
    (0.04, (6.0, 9.0), glider),
    (0.02, (15.0, 35.0), delta_wing),
)
"""(share of the draws, fuselage length in metres from shortest to longest, builder) of every type of airplane."""


def airplane(rng: np.random.Generator) -> TriangleMesh:
    """One random airplane in metres: a closed, connected, outward oriented mesh of a few thousand faces."""
    limits = np.cumsum([share for share, _, _ in TYPES])
    _, lengths, build = TYPES[int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))]
    length = rng.uniform(*lengths)
    return to_mesh(unite(build(rng)).scale((length, length, length)))
