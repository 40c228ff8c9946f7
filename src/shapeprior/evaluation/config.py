"""What an evaluation covers: tasks, conditions, baselines, and how many points the metrics draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from shapeprior.config import check_numbers
from shapeprior.errors import ConfigError
from shapeprior.evaluation.metrics import MetricsConfig
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.simulation import SensorLevel

Task = Literal["codes", "full", "view"]
"""codes: training shapes, decoded from their trained codes. full: unseen shapes, from codes fitted to all their
samples. view: unseen shapes, completed from partial views."""
BaselineName = Literal["mean", "nearest", "pca", "poisson", "upper"]
PRIOR_METHOD = "shapeprior"
"""The name of the evaluated prior among the methods of a report."""
UPPER_BOUND_METHOD = "upper bound"
"""The name of the baseline that knows the truth."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What the methods get to see of a shape in the task view."""

    views: int
    """Number of depth views, joined into one."""
    sensor: SensorLevel
    """Level of the sensor model (`shapeprior.scans.simulation`)."""

    @property
    def slug(self) -> str:
        """The condition as part of a file's name."""
        return f"view-{self.views}-{self.sensor}"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of an evaluation."""

    tasks: tuple[Task, ...] = get_args(Task)
    """Tasks to evaluate."""
    split: Literal["train", "test"] = "test"
    """Split of the data set for the tasks full and view. Scores on `train` tell how well shapes are remembered."""
    views: tuple[int, ...] = (1,)
    """Numbers of views in the task view. Each number is a condition with each of the sensors."""
    sensors: tuple[SensorLevel, ...] = ("clean",)
    """Levels of the sensor model."""
    placement: PlacementMode = "known"
    """What the priors know of a view's placement. The baselines always know all of it."""
    view_resolution: int = 256
    """Pixels along each side of a depth image."""
    resolution: int = 128
    """Cells along each axis in mesh extraction, for all methods."""
    max_shapes: int | None = None
    """Shapes in each task, at most, evenly spread. None takes all, and in the task codes as many as the split has."""
    baselines: tuple[BaselineName, ...] | None = None
    """Baselines to compare with. None takes all that can be run here."""
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
        """Return the conditions of a task: (None,) for tasks without views."""
        if task != "view":
            return (None,)
        return tuple(Condition(views=views, sensor=sensor) for views in self.views for sensor in self.sensors)


def parse_baselines(words: Sequence[str]) -> tuple[BaselineName, ...] | None:
    """Return the baselines named on the command line, in the order of `BaselineName`.

    No words mean all baselines that can be run (None), and the word "none" means no baseline. Raises ConfigError for
    "none" beside other words.
    """
    if "none" in words:
        if len(words) > 1:
            raise ConfigError(f"baselines = {', '.join(words)}; expected none alone, or some without it")
        return ()
    names: tuple[BaselineName, ...] = get_args(BaselineName)
    return tuple(name for name in names if name in words) if words else None


def require_choice(name: str, found: Sequence[str], choices: Sequence[str]) -> None:
    """Raise ConfigError unless `found` holds at least one of the choices, and none twice."""
    wrong = [value for value in found if value not in choices]
    if wrong or not found or len(set(found)) < len(found):
        raise ConfigError(f"{name} = {', '.join(found) or 'none'}; expected different ones of {', '.join(choices)}")
