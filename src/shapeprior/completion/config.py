"""Settings of the completion solver."""

from dataclasses import dataclass

from shapeprior.completion.residuals import ResidualSettings
from shapeprior.config import check_numbers


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """Settings of the solver."""

    starts: int = 1
    """Guesses to start from where the placement is known: the best of what the encoder says, the mean code, and training codes that
    explain the view."""
    placed_starts: int = 8
    """Guesses to start from where it is not; without an encoder twice as many if a turn about +y is unknown, four times if any
    turn is."""
    short_steps: int = 4
    """Steps of all starts, if there are several, with few points and derivatives that are made once."""
    short_points: int = 160
    """Surface points, and as many free points, in these."""
    survivors: int = 4
    """Starts that go on after these, if there are so many."""
    steps: int = 6
    """Steps of those where the placement is known."""
    max_steps: int = 20
    """More of these, and of those with cleared points, are made where the fit still gains by them: as many in all, at most."""
    placed_steps: int = 10
    """Steps of those where it is not."""
    relinearize_every: int = 5
    """Steps with the same derivatives of the decoder by its code."""
    clearing_points: int = 300
    """Points of each fit's shape that were seen to be free, at most, that are added to the others then (`shapeprior.completion.constraints`)."""
    clearing_steps: int = 4
    """Steps with them, where the placement is known."""
    placed_clearing_steps: int = 5
    """Steps with them, where it is not."""
    points: int = 600
    """Surface points in these."""
    free_points: int = 600
    """Free-space points in these."""
    shell: float = 0.012
    """Distance of the points before and behind the surface whose signed distance is taken to be ± this."""
    huber: float = 0.02
    """Residuals beyond this count linearly instead of squared, in unit-sphere radii."""
    free_weight: float = 1.0
    """Weight of free space beside the surface."""
    prior_weight: float = 2e-3
    """Weight of the mean squared whitened coordinate, where the placement is known."""
    placed_prior_weight: float = 5e-4
    """Weight of it, and of what is expected of the placement, where it is not: codes that are drawn to the usual ones take objects
    for larger than they are."""
    renormalization_steps: int = 5
    """Steps after a placement with unknown scale was changed so that the shape fills the unit sphere; 0 leaves that out."""

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
        """What is minimised."""
        return ResidualSettings(shell=self.shell, huber=self.huber, free_weight=self.free_weight)
