"""The completion solver: which code explains a partial view? (DeepSDF, section 4.3 and equation 10.)"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shapeprior.code_space import CodeSpace
from shapeprior.config import check_numbers
from shapeprior.decoder import Decoder, seeded
from shapeprior.errors import CompletionError
from shapeprior.frames import Similarity
from shapeprior.losses import code_prior, outside
from shapeprior.observation import Observation
from shapeprior.observed_samples import ObservedSamples, observed_samples
from shapeprior.placement import first_placements


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """Settings of the solver."""

    starts: int = 5
    """Codes to start from: the mean of the training codes and those that explain the view best."""
    short_steps: int = 20
    """Adam steps for all starts, with a third of the points."""
    kept: int = 2
    """Starts that go on after these."""
    steps: int = 90
    """Adam steps for those."""
    points: int = 384
    """Surface points a step."""
    free_points: int = 512
    """Free-space points a step."""
    rate: float = 0.08
    """Adam's learning rate in whitened code coordinates."""
    placement_rate: float = 0.01
    """Adam's learning rate for scale and offset, where they are unknown, in unit-sphere radii."""
    shell: float = 0.012
    """Distance of the points before and behind the surface whose signed distance is taken to be ± this."""
    huber: float = 0.02
    """Residuals beyond this count linearly instead of squared, in unit-sphere radii."""
    free_weight: float = 1.0
    """Weight of free space beside the surface."""
    prior_weight: float = 1e-3
    """Weight of the mean squared whitened coordinate."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            at_least_one=("starts", "short_steps", "kept", "steps", "points", "free_points"),
            positive=("rate", "placement_rate", "shell", "huber"),
            not_negative=("free_weight", "prior_weight"),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentEstimate:
    """The code that explains a view best, and where the object lies."""

    code: Float[Tensor, "code"]
    T_unit_world: Similarity
    """The given placement, or the one that was found."""
    residual: float
    """Median |f| at the observed points, in unit-sphere radii."""
    explained: float
    """Share of observed points with |f| below 0.02."""
    objective: float
    """What the solver minimised."""


def infer_latent(
    decoder: Decoder,
    training_codes: Float[Tensor, "shapes code"],
    view_world: Observation,
    *,
    T_unit_world: Similarity | None,
    seed: int,
    config: InferConfig,
) -> LatentEstimate:
    """Find the code of a partial view with the decoder frozen.

    Without `T_unit_world` the view's axes must be the unit frame's, and scale and offset are solved for together with the
    code. Raises CompletionError if no start leads to a finite objective, ScanError if the points of a view without a placement all
    lie in one place.
    """
    placements = [T_unit_world] if T_unit_world is not None else first_placements(view_world)
    space = CodeSpace.fit(training_codes)
    solver = _Solver(decoder, space, config, seed, placed=T_unit_world is not None)
    with _frozen(decoder):
        samples = [
            observed_samples(view_world.transformed(placement), max_points=4096, seed=seed) for placement in placements
        ]
        starts = solver.best_starts(samples, training_codes)
        starts = solver.descend(starts, samples, config.short_steps, thin=3)
        starts = sorted(starts, key=lambda start: start.objective)[: config.kept]
        starts = solver.descend(starts, samples, config.steps)
        best = min(starts, key=lambda start: start.objective)
        if not np.isfinite(best.objective):
            raise CompletionError("every start ended without a finite objective; expected weights that were trained")
        return solver.finish(best, samples[best.sample], placements[best.sample])


@dataclass(eq=False)
class _Start:
    """One hypothesis: whitened code, log scale and offset relative to the placement of its samples."""

    whitened: Tensor
    log_scale: Tensor
    offset: Tensor
    sample: int
    objective: float = float("inf")


class _Solver:
    def __init__(self, decoder: Decoder, space: CodeSpace, config: InferConfig, seed: int, *, placed: bool) -> None:
        self.decoder, self.space, self.config, self.placed = decoder, space, config, placed
        self.generator = seeded(seed)

    def best_starts(self, samples: list[ObservedSamples], codes: Float[Tensor, "shapes code"]) -> list[_Start]:
        """Rank the mean code and all training codes at every placement; keep the best, and the mean at its best placement."""
        candidates = torch.cat([self.space.mean[None], codes])
        ranked: list[tuple[float, int, int]] = []
        with torch.no_grad():
            for index, sample in enumerate(samples):
                terms = self._draw(sample, 192, 192)
                for chunk in torch.arange(len(candidates)).split(32):
                    shared = tuple(term.expand(len(chunk), -1, -1) for term in terms)
                    objective = self._objective(self.space.whiten(candidates[chunk]), shared)
                    ranked += [(float(value), int(row), index) for value, row in zip(objective, chunk, strict=True)]
        ranked.sort()
        chosen = ranked[: max(self.config.starts - 1, 1)]
        if self.config.starts > 1 and all(row != 0 for _, row, _ in chosen):
            chosen.append(next(entry for entry in ranked if entry[1] == 0))
        return [
            _Start(self.space.whiten(candidates[row : row + 1])[0], torch.zeros(1), torch.zeros(3), index)
            for _, row, index in chosen
        ]

    def descend(
        self, starts: list[_Start], samples: list[ObservedSamples], steps: int, *, thin: int = 1
    ) -> list[_Start]:
        """Adam on all starts at once, each on samples of its own placement."""
        whitened = torch.stack([start.whitened for start in starts]).requires_grad_()
        log_scale = torch.stack([start.log_scale for start in starts]).requires_grad_(not self.placed)
        offset = torch.stack([start.offset for start in starts]).requires_grad_(not self.placed)
        groups = [{"params": [whitened], "lr": self.config.rate}]
        if not self.placed:
            groups.append({"params": [log_scale, offset], "lr": self.config.placement_rate})
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        points, free = max(self.config.points // thin, 1), max(self.config.free_points // thin, 1)
        for _ in range(steps):
            drawn = [self._draw(samples[start.sample], points, free) for start in starts]
            terms = tuple(torch.stack(parts) for parts in zip(*drawn, strict=True))
            objective = self._objective(whitened, terms, log_scale, offset)
            optimizer.zero_grad(set_to_none=True)
            objective.sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            drawn = [self._draw(samples[start.sample], 1024, 1024, fresh=False) for start in starts]
            terms = tuple(torch.stack(parts) for parts in zip(*drawn, strict=True))
            final = self._objective(whitened, terms, log_scale, offset)
        return [
            _Start(whitened[i].detach(), log_scale[i].detach(), offset[i].detach(), start.sample, float(final[i]))
            for i, start in enumerate(starts)
        ]

    def finish(self, best: _Start, samples: ObservedSamples, placement: Similarity) -> LatentEstimate:
        """The estimate of one start, with how well it explains all points."""
        scale = float(best.log_scale.exp())
        moved = Similarity(scale=scale, rotation=np.eye(3), offset=best.offset.double().numpy())
        code = self.space.codes(best.whitened[None])
        points = torch.from_numpy(moved.apply(samples.surface)).float()
        with torch.no_grad():
            residuals = self.decoder(code, points[None]).abs()[0]
        return LatentEstimate(
            code=code[0],
            T_unit_world=moved @ placement if not self.placed else placement,
            residual=float(residuals.median()),
            explained=float((residuals < 0.02).float().mean()),
            objective=best.objective,
        )

    def _draw(
        self, samples: ObservedSamples, points: int, free: int, *, fresh: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random surface points, their normals, and free points (none stays none)."""
        generator = self.generator if fresh else seeded(0)
        surface = torch.randint(len(samples.surface), (points,), generator=generator)
        count = free if len(samples.free) else 0
        empty = torch.randint(max(len(samples.free), 1), (count,), generator=generator)
        return (
            torch.from_numpy(samples.surface[surface.numpy()]).float(),
            torch.from_numpy(samples.normals[surface.numpy()]).float(),
            torch.from_numpy(samples.free[empty.numpy()]).float().reshape(-1, 3),
        )

    def _objective(
        self,
        whitened: Float[Tensor, "starts code"],
        terms: tuple[Tensor, ...],
        log_scale: Float[Tensor, "starts 1"] | None = None,
        offset: Float[Tensor, "starts 3"] | None = None,
    ) -> Float[Tensor, "starts"]:
        """Surface, shell, free space and prior, one value a start."""
        surface, normals, free = terms
        if log_scale is not None and offset is not None:
            surface = surface * log_scale.exp()[:, None] + offset[:, None]
            free = free * log_scale.exp()[:, None] + offset[:, None]
        shell, count = self.config.shell, surface.shape[1]
        stacked = torch.cat([surface, surface + shell * normals, surface - shell * normals, free], dim=1)
        field = self.decoder(self.space.codes(whitened), stacked)
        known = normals.abs().sum(dim=-1) > 0
        on, before, behind, empty = field.split([count, count, count, free.shape[1]], dim=1)
        value = self._huber(on).mean(dim=1)
        value = value + 0.5 * (self._huber(before - shell) * known).mean(dim=1)
        value = value + 0.5 * (self._huber(behind + shell) * known).mean(dim=1)
        if free.shape[1]:
            value = value + self.config.free_weight * outside(empty, shell).mean(dim=1)
        value = value + self.config.prior_weight * code_prior(whitened) / whitened.shape[1]
        # NaN would win or lose by chance in a comparison; as infinity it loses.
        return torch.where(value.isnan(), torch.inf, value)

    def _huber(self, residual: Tensor) -> Tensor:
        """Huber's loss in units of distance: r²/(2h) up to h, |r| − h/2 beyond; bad starts keep a full gradient."""
        return (
            torch.nn.functional.huber_loss(
                residual, torch.zeros_like(residual), reduction="none", delta=self.config.huber
            )
            / self.config.huber
        )


class _frozen:
    """Within this block the decoder's weights take no gradients."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def __enter__(self) -> None:
        self.before = [parameter.requires_grad for parameter in self.decoder.parameters()]
        self.decoder.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter, wanted in zip(self.decoder.parameters(), self.before, strict=True):
            parameter.requires_grad_(wanted)
