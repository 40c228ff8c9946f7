"""What is evaluated: tasks, conditions, baselines, and how many points the metrics draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.evaluation.metrics import MetricsConfig
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.simulation import SensorLevel

Task = Literal["codes", "full", "view"]
"""codes: training shapes by their trained codes; full: unseen shapes by codes fitted to all their samples; view: unseen shapes
completed from partial views."""
BaselineName = Literal["mean", "nearest", "pca", "poisson", "upper"]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a completion is given to see."""

    views: int
    """How many views together."""
    sensor: SensorLevel
    """Through which sensor (`shapeprior.scans.simulation`)."""

    @property
    def slug(self) -> str:
        """As part of a file's name."""
        return f"view-{self.views}-{self.sensor}"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is evaluated."""

    tasks: tuple[Task, ...] = get_args(Task)
    """Which tasks."""
    split: Literal["train", "test"] = "test"
    """Split of the data set for the tasks full and view; scores on `train` say how well shapes are remembered."""
    views: tuple[int, ...] = (1,)
    """Numbers of views of the task view, each a condition with each sensor."""
    sensors: tuple[SensorLevel, ...] = ("clean",)
    """Levels of the sensor model."""
    placement: PlacementMode = "known"
    """What the priors are told of a view's placement; the baselines always know it."""
    view_resolution: int = 256
    """Pixels along each side of a depth image."""
    resolution: int = 128
    """Cells along each axis in extraction, of all methods."""
    max_shapes: int | None = None
    """Evaluate at most so many shapes a task, evenly spread; None: all, and of the task codes as many as of the split."""
    baselines: tuple[BaselineName, ...] | None = None
    """Which baselines; None: all that can be run here."""
    training_shapes: int = 500
    """Training shapes that the baselines know, at most, evenly spread."""
    meshes: bool = True
    """Whether to write the meshes."""
    pictures: bool = True
    """Whether to write a picture of each completion by the prior."""
    metrics: MetricsConfig = MetricsConfig()
    """How many points the metrics draw."""

    def __post_init__(self) -> None:
        require_choice("tasks", self.tasks, get_args(Task))
        require_choice("split", (self.split,), ("train", "test"))
        require_choice("sensors", self.sensors, get_args(SensorLevel))
        require_choice("placement", (self.placement,), get_args(PlacementMode))
        if self.baselines:
            require_choice("baselines", self.baselines, get_args(BaselineName))
        if not self.views or min(self.views) < 1 or len(set(self.views)) < len(self.views):
            raise ConfigError(f"views = {self.views}; expected different numbers, at least 1 each")
        if self.max_shapes is not None and self.max_shapes < 1:
            raise ConfigError(f"max_shapes = {self.max_shapes}; expected at least 1, or None for all")
        check_numbers(self, at_least_one=("view_resolution", "training_shapes"))
        if self.resolution < 2:
            raise ConfigError(f"resolution = {self.resolution}; expected at least 2 cells")

    def conditions(self, task: Task) -> tuple[Condition | None, ...]:
        """Each condition of a task; of tasks without views the one None."""
        if task != "view":
            return (None,)
        return tuple(Condition(views=views, sensor=sensor) for views in self.views for sensor in self.sensors)


def chosen_baselines(words: Sequence[str]) -> tuple[BaselineName, ...] | None:
    """The baselines that words of the command line mean: none given are all that can be run, and "none" are none.

    Raises ConfigError for "none" beside others.
    """
    if "none" in words:
        if len(words) > 1:
            raise ConfigError(f"baselines = {', '.join(words)}; expected none alone, or some without it")
        return ()
    names: tuple[BaselineName, ...] = get_args(BaselineName)
    return tuple(name for name in names if name in words) if words else None


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """At most `count` of the items, evenly spread, in their order; None takes all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, count).round().astype(int)]


def require_choice(name: str, found: Sequence[str], choices: Sequence[str]) -> None:
    """Raise ConfigError unless these are some of the choices, none twice."""
    wrong = [value for value in found if value not in choices]
    if wrong or not found or len(set(found)) < len(found):
        raise ConfigError(f"{name} = {', '.join(found) or 'none'}; expected different ones of {', '.join(choices)}")
