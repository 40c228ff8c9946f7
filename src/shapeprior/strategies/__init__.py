"""Where the samples of a shape lie: one object a strategy, each with a ``draw(distance, count, rng=...)``.

To add one, write its file here, give it a field below and a count in `shapeprior.sampling.SamplingConfig`. What the others
draw does not change.
"""

from dataclasses import dataclass, field

from shapeprior.strategies.edges import SharpEdges
from shapeprior.strategies.near import NearSurface
from shapeprior.strategies.rays import DepthRays
from shapeprior.strategies.uniform import UniformBall


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """The strategies whose samples have distances, by name. New ones come last: the order numbers them in files."""

    near: NearSurface = field(default_factory=NearSurface)
    """Near the surface, by area."""
    uniform: UniformBall = field(default_factory=UniformBall)
    """Everywhere in the unit ball."""
    edges: SharpEdges = field(default_factory=SharpEdges)
    """Near sharp edges, by length."""
    rays: DepthRays = field(default_factory=DepthRays)
    """Along the rays of depth sensors."""
