"""How much of the machine's matrix throughput training reaches, by preset and type.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py --presets deepsdf-256 triplane-64 "triplane-64, grouped"

The last is the default with the generator's layers as torch has them (`GroupedTriplane`). A step is one of `shapeprior.train`:
samples are there, forward, backward, Adam. Its products are three times those of the forward pass, which torch counts. The
machine's throughput is that of a product of 2,048 x 256 by 256 x 256 numbers in the same type. Medians of interleaved rounds.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from candidate_decoders import GroupedTriplane
from tables import print_machine, print_table
from torch.utils.flop_counter import FlopCounterMode

from shapeprior.freed_memory import keep_freed_memory
from shapeprior.objective import TrainingBatch, batch_objective
from shapeprior.presets import build_decoder, preset
from shapeprior.triplane import TriplaneConfig

ROUNDS = 15
GROUPED = ", grouped"


def step_of(name: str, precision: str):
    """A function that makes one step, one that makes its forward pass, and the samples of it."""
    recipe, grouped = preset(name.removesuffix(GROUPED)), name.endswith(GROUPED)
    settings = replace(recipe.train, precision=precision)
    if grouped:
        assert isinstance(recipe.decoder, TriplaneConfig)
        decoder = GroupedTriplane(recipe.decoder, seed=0)
    else:
        decoder = build_decoder(recipe.decoder, seed=0)
    shapes, points = settings.shapes_per_batch, settings.points_per_shape
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn((shapes, decoder.code_size), generator=generator).requires_grad_()
    where = torch.rand((shapes, points, 3), generator=generator) * 2.0 - 1.0
    batch = TrainingBatch(rows=torch.arange(shapes), points_unit=where, sdf=where.norm(dim=-1) - 0.5)
    optimizer = torch.optim.Adam(decoder.parameters(), fused=True)

    def forward() -> torch.Tensor:
        return batch_objective(decoder, codes, batch, settings).value.mean()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        codes.grad = None
        forward().backward()
        optimizer.step()

    return step, forward, shapes * points


def product_of(precision: str):
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = torch.randn(2048, 256).to(kind), torch.randn(256, 256).to(kind)
    return lambda: left @ right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["deepsdf-256", "triplane-64", f"triplane-64{GROUPED}"])
    arguments = parser.parse_args()
    keep_freed_memory()  # As the command line does.
    print_machine()
    rows = []
    for name in arguments.presets:
        for precision in ("float32", "bfloat16"):
            step, forward, samples = step_of(name, precision)
            product = product_of(precision)
            # torch counts a backward pass of convolutions in groups as if there were none; it has twice the forward's products.
            with FlopCounterMode(display=False) as counter:
                forward()
            spent: list[float] = []
            best: list[float] = []
            for _ in range(ROUNDS):
                started = time.process_time()
                step()
                middle = time.process_time()
                for _ in range(20):
                    product()
                spent.append(middle - started)
                best.append((time.process_time() - middle) / 20)
            rate = 3 * counter.get_total_flops() / float(np.median(spent)) / 1e9
            peak = 2 * 2048 * 256 * 256 / float(np.median(best)) / 1e9
            rows.append(
                [
                    name,
                    precision,
                    f"{np.median(spent) * 1e3:.0f}",
                    f"{samples / np.median(spent) / 1e3:.0f}",
                    f"{rate:.0f}",
                    f"{peak:.0f}",
                    f"{rate / peak:.0%}",
                ]
            )
    header = ["preset", "type", "step, CPU ms", "1,000 samples/s", "GFLOP/s", "of a product alone", "share"]
    print_table("Training steps", header, rows, words=2)


if __name__ == "__main__":
    main()
