"""Settings of the completion solver."""

from dataclasses import dataclass

from shapeprior.completion.residuals import ResidualSettings
from shapeprior.config import check_numbers
from shapeprior.scans.placement import PlacementMode


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """Settings of the solver. Fields named `placed_...` apply where the placement is solved for, their twins where it
    is known."""

    starts: int = 1
    """Number of guesses to start from where the placement is known: the best among the encoder's guess, the mean code
    and the training codes that explain the view."""
    placed_starts: int = 8
    """Number of guesses to start from where the placement is unknown. Without an encoder, it is doubled if the turn
    about +y is unknown, and multiplied by four if any turn is."""
    short_steps: int = 4
    """Number of first steps of all starts, if there are several. They use few points and one linearization."""
    short_points: int = 160
    """Number of surface points, and of free points, in these first steps."""
    survivors: int = 4
    """Number of starts that go on after these steps."""
    steps: int = 6
    """Number of steps of the survivors."""
    placed_steps: int = 10
    max_steps: int = 20
    """Largest number of steps where the placement is known. More than the nominal number are made while the fit
    gains."""
    relinearize_every: int = 5
    """Number of steps with the same derivatives of the decoder by its code."""
    clearing_points: int = 300
    """Largest number of points of each fitted shape that the view saw to be free and that are added to the residuals
    (`shapeprior.completion.constraints`)."""
    clearing_steps: int = 4
    """Number of steps with these points. 0 leaves them out."""
    placed_clearing_steps: int = 5
    points: int = 600
    """Number of surface points in all but the first steps."""
    free_points: int = 600
    """Number of free points in all but the first steps."""
    shell: float = 0.012
    """Distance of the points before and behind the surface whose signed distance is taken to be plus and minus this."""
    huber: float = 0.02
    """Residual from which errors count linearly instead of squared, in unit-sphere radii."""
    free_weight: float = 1.0
    """Weight of free space beside the surface."""
    prior_weight: float = 2e-3
    """Weight of the mean squared whitened coordinate of the code."""
    placed_prior_weight: float = 5e-4
    """The same, and the weight of the expected placement. It is smaller because codes that are drawn to usual shapes
    take objects for larger than they are."""
    renormalization_steps: int = 5
    """Number of steps after an unknown scale was changed so that the shape fills the unit sphere. 0 leaves this out."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=(
                "starts",
                "placed_starts",
                "short_steps",
                "short_points",
                "survivors",
                "steps",
                "max_steps",
                "placed_steps",
                "relinearize_every",
                "points",
                "free_points",
                "clearing_points",
            ),
            positive=("shell", "huber"),
            not_negative=(
                "free_weight",
                "prior_weight",
                "placed_prior_weight",
                "clearing_steps",
                "placed_clearing_steps",
                "renormalization_steps",
            ),
        )

    @property
    def residuals(self) -> ResidualSettings:
        """The settings that define the objective."""
        return ResidualSettings(shell=self.shell, huber=self.huber, free_weight=self.free_weight)

    def prior_weight_for(self, mode: PlacementMode) -> float:
        """Return the weight of the prior for a placement mode."""
        return self.prior_weight if mode == "known" else self.placed_prior_weight
