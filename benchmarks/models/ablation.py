"""Ablation of decoder and recipe: arms that differ in one thing, trained for the same CPU time on the same shapes.

    python -m benchmarks.models.ablation DATASET --seconds 60 --arms triplane "triplane, no linear start" --seeds 0

DATASET must have surface points, and samples across walls for all arms but "triplane, no wall samples" (`shapeprior
prepare ... --samples near=9000,uniform=1000,edges=3000,walls=7000,surface=2000`).
Set OMP_NUM_THREADS=1 for one thread. The learning rates fall along half a cosine of CPU time. Errors are clamped L1 at
0.1, in radii:

  train      on all samples of training shapes;
  full       on unseen shapes, with codes fitted to all their samples (`encode_samples`, 120 steps);
  half       on the half of their samples that lies beyond a plane, with codes fitted to the other half, which is the
             task of a prior;
  edges      mean angle between true normals and those of the nearest point of the mesh extracted from the fitted code
             (128³), within 0.02 of edges sharper than 30 degrees (degrees; 90 for a failure);
  normals    mean angle between true normals and the field's gradient at points of the true surface (degrees).
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.tables import print_machine, print_table
from benchmarks.models.ablation_arms import Arm, arms
from benchmarks.models.candidate_decoders import FourierDecoder
from shapeprior.completion.encoding import EncodeConfig, encode_samples
from shapeprior.datasets.dataset import Dataset
from shapeprior.errors import CompletionError
from shapeprior.evaluation.mesh_metrics import edge_normal_error
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS
from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.device import autocast
from shapeprior.models.latent_space import CodeSpace
from shapeprior.models.objective import banded_l1, beside_along, clamped_l1, code_prior, slope_along
from shapeprior.models.optimizers import Muon, RowAdam, cosine_decay
from shapeprior.sdf.isosurface.extract import ExtractConfig, extract_mesh
from shapeprior.sdf.sampling import STRATEGIES
from shapeprior.training.initialization import LinearInitialization, coarse_grids

CLAMP = 0.1
SLOPE_POINTS = 256


@dataclass(eq=False)
class Shapes:
    """Samples of a split, equally many of each shape."""

    ids: list[str]
    points: Tensor
    sdf: Tensor
    surface: Tensor
    normals: Tensor
    strategy: Tensor
    """Index of the strategy that drew each sample."""

    @classmethod
    def read(cls, data: Dataset, split: str, limit: int | None = None) -> "Shapes":
        ids = [shape.id for shape in data.split(split)]
        if limit is not None and limit < len(ids):
            ids = [ids[i] for i in np.linspace(0, len(ids) - 1, limit).round().astype(int)]
        samples = [data.samples(shape_id) for shape_id in ids]
        least = min(len(s.sdf) for s in samples)
        surfaces = [s.surface for s in samples]
        if any(surface is None for surface in surfaces):
            raise SystemExit("the data set has no surface points; prepare it with --samples near=8500,...,surface=3000")

        def stack(arrays: Sequence[np.ndarray]) -> Tensor:
            return torch.stack([torch.from_numpy(array.astype(np.float32)) for array in arrays])

        return cls(
            ids=ids,
            points=stack([s.points_unit[:least] for s in samples]),
            sdf=stack([s.sdf[:least] for s in samples]),
            surface=stack([s.points_unit for s in surfaces if s is not None]),
            normals=stack([s.normals_unit for s in surfaces if s is not None]),
            strategy=torch.stack([torch.from_numpy(s.strategy[:least]) for s in samples]),
        )

    def rows(self, shape: int, left_out: Sequence[str]) -> Tensor:
        """Return the rows of a shape's samples without those of some strategies."""
        kept = torch.ones(len(STRATEGIES), dtype=torch.bool)
        kept[[STRATEGIES.index(name) for name in left_out]] = False
        return torch.nonzero(kept[self.strategy[shape].long()])[:, 0]


def train(arm: Arm, shapes: Shapes, seconds: float, *, seed: int) -> tuple[Decoder, Tensor, int]:
    """Train an arm for some CPU seconds, with its start, and return decoder, codes and the number of steps."""
    started = time.process_time()
    decoder = arm.decoder(seed)
    count = min(len(shapes.ids), arm.max_shapes or len(shapes.ids))
    if arm.start == "linear":
        pairs = zip(shapes.points[:count].numpy(), shapes.sdf[:count].numpy(), strict=True)
        grids = coarse_grids(pairs, decoder.coarse_cells)
        start = LinearInitialization.fit(grids, code_size=decoder.code_size, clamp=CLAMP, deviation=arm.deviation)
        first = torch.from_numpy(start.codes(grids)).float()
        decoder.set_coarse_field(torch.from_numpy(start.mean).float(), torch.from_numpy(start.basis).float())
    else:
        first = torch.randn((count, decoder.code_size), generator=seeded(seed + 1)) * arm.deviation
    shift = 0.5 if arm.start == "constant" else 0.0
    codes = RowAdam(first)
    layers = decoder.matrix_layers() if arm.matrix_rate else {}
    muon = Muon({name: layer for name, layer in layers.items() if name.startswith(arm.matrices)})
    rest = [value for name, value in decoder.named_parameters() if name not in muon.momenta]
    optimizer = torch.optim.AdamW(rest, lr=arm.rate, weight_decay=arm.decay, fused=True)
    generator, rng, steps = seeded(seed), np.random.default_rng(seed), 0
    order: list[int] = []
    while (share := (time.process_time() - started) / seconds) < 1.0:
        rate_share = cosine_decay(share, 1.0, final=0.02)
        optimizer.param_groups[0]["lr"] = arm.rate * rate_share
        if isinstance(decoder, FourierDecoder):
            decoder.opened = min(2.0 * share, 1.0)
        if len(order) < min(arm.shapes, count):
            order = rng.permutation(count).tolist()
        rows, order = np.array(order[: arm.shapes]), order[arm.shapes :]
        taken = codes.take(rows)
        used = (
            taken + arm.noise * codes.values.std() * torch.randn(taken.shape, generator=generator)
            if arm.noise
            else taken
        )
        decoder.zero_grad(set_to_none=True)
        value = objective(arm, decoder, used, shapes, rows, generator, share=share, shift=shift)
        value.mean().backward()
        optimizer.step()
        muon.step(rate=arm.matrix_rate * rate_share)
        assert taken.grad is not None
        codes.step(rows, taken.grad, rate=arm.code_rate * rate_share)
        steps += 1
    if isinstance(decoder, FourierDecoder):
        decoder.opened = 1.0
    return decoder, codes.values, steps


def objective(
    arm: Arm, decoder: Decoder, codes: Tensor, shapes: Shapes, rows: np.ndarray, generator: torch.Generator,
    *, share: float, shift: float,
) -> Tensor:  # fmt: skip
    """Return the value that an arm minimises, one for each shape."""
    chosen = []
    for row in rows:
        usable = shapes.rows(int(row), arm.left_out)
        chosen.append(usable[torch.randint(len(usable), (arm.points,), generator=generator)])
    index, row = torch.stack(chosen), torch.from_numpy(rows)
    points, sdf = shapes.points[row[:, None], index], shapes.sdf[row[:, None], index]
    with autocast(torch.device("cpu"), "auto" if arm.bf16 else "float32"):
        prepared = decoder.prepare(codes)
        predicted = decoder.query(prepared, points).float() + shift
    if arm.loss == "soft":
        error = (CLAMP * torch.tanh(predicted / CLAMP) - CLAMP * torch.tanh(sdf / CLAMP)).abs()
    else:
        error = (banded_l1 if arm.loss == "banded" else clamped_l1)(predicted, sdf, CLAMP)
    if arm.inside != 1.0:
        error = torch.where((sdf < 0) & (predicted > sdf), arm.inside * error, error)
    if arm.hard:
        sign = torch.sign(sdf)
        error = error * (1.0 + arm.hard * share * sign * torch.sign(sdf - predicted.detach()))
    value = error.mean(dim=1) + arm.code_prior * code_prior(codes)
    if arm.smooth:
        planes = prepared[0]
        value = value + arm.smooth * (planes.diff(dim=-1).square().mean() + planes.diff(dim=-2).square().mean())
    if arm.eikonal:
        near = sdf.abs().topk(min(256, arm.points), largest=False).indices
        where = torch.gather(points, 1, near[..., None].expand(-1, -1, 3))
        value = value + arm.eikonal * (gradient(decoder, prepared, where).norm(dim=-1) - 1.0).square().mean(dim=1)
    if arm.slope:
        index = torch.randint(shapes.surface.shape[1], (len(rows), SLOPE_POINTS), generator=generator)
        where, true = shapes.surface[row[:, None], index], shapes.normals[row[:, None], index]
        sides = (decoder.query(prepared, side) for side in beside_along(where, true))
        value = value + arm.slope * slope_along(*sides).mean(dim=1)
    if arm.normals:
        index = torch.randint(shapes.surface.shape[1], (len(rows), 256), generator=generator)
        where, true = shapes.surface[row[:, None], index], shapes.normals[row[:, None], index]
        lean = (gradient(decoder, prepared, where) - true).norm(dim=-1).mean(dim=1)
        value = value + arm.normals * lean
    return value


def gradient(decoder: Decoder, prepared: tuple[Tensor, ...], where: Tensor, step: float = 0.01) -> Tensor:
    """Return the gradient of the field by central differences, because bilinear features have no second derivative."""
    steps = step * torch.cat([torch.eye(3), -torch.eye(3)])
    probes = (where[:, :, None] + steps).flatten(1, 2)
    values = decoder.query(prepared, probes).view(*where.shape[:2], 6)
    return (values[..., :3] - values[..., 3:]) / (2.0 * step)


def fitted(decoder: Decoder, codes: Tensor, points: Tensor, sdf: Tensor) -> Tensor:
    """Fit codes to samples of unseen shapes."""
    config = EncodeConfig(steps=120)
    return encode_samples(decoder, CodeSpace.fit(codes), points, sdf, clamp=CLAMP, config=config, seed=0)


@torch.no_grad()
def error(decoder: Decoder, codes: Tensor, points: Tensor, sdf: Tensor) -> float:
    parts = [
        clamped_l1(decoder(c[None], p[None]), s[None], CLAMP).mean() for c, p, s in zip(codes, points, sdf, strict=True)
    ]
    return float(torch.stack(parts).mean())


def measured(decoder: Decoder, codes: Tensor, seen: Shapes, unseen: Shapes, data: Dataset) -> dict[str, float]:
    """Return the columns of the table."""
    decoder.eval()
    some = slice(None, min(len(codes), 40))
    found = {"train": error(decoder, codes[some], seen.points[some], seen.sdf[some])}
    new = fitted(decoder, codes, unseen.points, unseen.sdf)
    found["full"] = error(decoder, new, unseen.points, unseen.sdf)
    # The near half of each shape's samples lies on one side of a plane through the middle sample.
    direction = torch.randn((len(unseen.ids), 3), generator=seeded(7))
    order = torch.einsum("snx,sx->sn", unseen.points, direction).argsort(dim=1)
    near, far = order.chunk(2, dim=1)
    half = fitted(decoder, codes, *(rows_of(part, near) for part in (unseen.points, unseen.sdf)))
    found["half"] = error(decoder, half, rows_of(unseen.points, far), rows_of(unseen.sdf, far))
    edges, lean = [], []
    for row, shape_id in enumerate(unseen.ids):
        with torch.no_grad():
            prepared = decoder.prepare(new[row : row + 1])
            grad = gradient(decoder, prepared, unseen.surface[row : row + 1, :1000], 0.002)[0]
        cosine = torch.nn.functional.cosine_similarity(grad, unseen.normals[row, :1000], dim=-1)
        lean.append(float(torch.rad2deg(torch.arccos(cosine.clamp(-1.0, 1.0))).mean()))

        def values(points: np.ndarray, prepared: tuple[Tensor, ...] = prepared) -> np.ndarray:
            with torch.no_grad():
                chunks = torch.from_numpy(points).float().split(4096)
                return torch.cat([decoder.query(prepared, chunk[None])[0] for chunk in chunks]).double().numpy()

        try:
            mesh = extract_mesh(values, ExtractConfig(resolution=128)).mesh
            lean_at_edges = edge_normal_error(data.mesh_unit(shape_id), mesh, seed=0)
            edges.append(math.nan if lean_at_edges is None else lean_at_edges)
        except CompletionError:
            edges.append(METRIC_DEFINITIONS["edge_normal_deg"].worst)
    return {**found, "edges": float(np.nanmean(edges)), "normals": float(np.mean(lean))}


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    return torch.stack([value[row] for value, row in zip(values, rows, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--arms", nargs="+", default=list(arms()))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shapes", type=int, default=10, help="unseen shapes")
    arguments = parser.parse_args()
    print_machine()
    data = Dataset.open(arguments.dataset)
    seen, unseen = Shapes.read(data, "train"), Shapes.read(data, "test", arguments.shapes)
    rows = []
    for name in arguments.arms:
        for seed in arguments.seeds:
            decoder, codes, steps = train(arms()[name], seen, arguments.seconds, seed=seed)
            found = measured(decoder, codes, seen, unseen, data)
            cells = [f"{found[key]:.4f}" for key in ("train", "full", "half")]
            cells += [f"{found[key]:.1f}" for key in ("edges", "normals")]
            rows.append([name, str(seed), str(steps), *cells])
            print(rows[-1], flush=True)
    title = f"{arguments.dataset.name}: {len(seen.ids)} shapes, {arguments.seconds:.0f} CPU s, {len(unseen.ids)} unseen"
    print_table(title, ["arm", "seed", "steps", "train", "full", "half", "edges, deg", "normals, deg"], rows)


if __name__ == "__main__":
    main()
