"""How much of the machine's matrix throughput training reaches, by preset and type.

    OMP_NUM_THREADS=1 python -m benchmarks.training.training_speed --presets deepsdf-256 triplane-64
    python -m benchmarks.training.training_speed --device cuda --presets deepsdf-256 deepsdf-512 triplane-64

"triplane-64, grouped" is the default with the generator's layers as torch has them (`GroupedTriplane`). A step is a
forward and a backward pass and a step of Adam, with samples that are in memory. Its products are counted as three times
those of the forward pass, which torch counts. The machine's throughput is that of a product of 2,048 x 256 by 256 x 256
numbers in the same type; on a GPU, of two matrices of 8,192 x 8,192. Figures are medians of interleaved rounds, of CPU
time on the CPU and of wall time on a GPU, with synchronisation.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.tables import print_machine, print_table
from benchmarks.models.candidate_decoders import GroupedTriplane
from shapeprior.models.device import usable_device
from shapeprior.models.objective import TrainingBatch, batch_objective
from shapeprior.models.presets import build_decoder, preset
from shapeprior.models.triplane import TriplaneConfig
from shapeprior.parallel.system import tune_malloc

ROUNDS = 15
GROUPED = ", grouped"


def step_of(name: str, precision: str, device: torch.device):
    """Return a function that makes one step, one that makes its forward pass, and the number of samples of a step."""
    recipe, grouped = preset(name.removesuffix(GROUPED)), name.endswith(GROUPED)
    settings = replace(recipe.train, precision=precision)
    if grouped:
        assert isinstance(recipe.decoder, TriplaneConfig)
        decoder = GroupedTriplane(recipe.decoder, seed=0)
    else:
        decoder = build_decoder(recipe.decoder, seed=0)
    decoder.to(device)
    shapes, points = settings.shapes_per_batch, settings.points_per_shape
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn((shapes, decoder.code_size), generator=generator).to(device).requires_grad_()
    where = (torch.rand((shapes, points, 3), generator=generator) * 2.0 - 1.0).to(device)
    batch = TrainingBatch(rows=torch.arange(shapes, device=device), points_unit=where, sdf=where.norm(dim=-1) - 0.5)
    optimizer = torch.optim.Adam(decoder.parameters(), fused=True)

    def forward() -> torch.Tensor:
        return batch_objective(decoder, codes, batch, settings).value.mean()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        codes.grad = None
        forward().backward()
        optimizer.step()

    return step, forward, shapes * points


def product_of(precision: str, device: torch.device):
    """Return a function that multiplies two matrices, and the number of operations that it takes."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    rows, columns = (2048, 256) if device.type == "cpu" else (8192, 8192)
    left, right = (
        torch.randn(rows, columns, device=device).to(kind),
        torch.randn(columns, columns, device=device).to(kind),
    )
    return lambda: left @ right, 2 * rows * columns**2


def seconds(device: torch.device) -> float:
    """Return the CPU time on the CPU, and elsewhere the wall time after all work is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["deepsdf-256", "triplane-64", f"triplane-64{GROUPED}"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    tune_malloc()  # As the command line does.
    print_machine()
    device = usable_device(arguments.device)
    rows = []
    for name in arguments.presets:
        for precision in ("float32", "bfloat16"):
            step, forward, samples = step_of(name, precision, device)
            product, operations = product_of(precision, device)
            # The backward pass has twice the forward's products, but torch does not count grouped convolutions in it.
            with FlopCounterMode(display=False) as counter:
                forward()
            spent: list[float] = []
            best: list[float] = []
            for _ in range(3):  # The first calls load kernels.
                step()
                product()
            for _ in range(ROUNDS):
                started = seconds(device)
                step()
                middle = seconds(device)
                for _ in range(20):
                    product()
                spent.append(middle - started)
                best.append((seconds(device) - middle) / 20)
            rate = 3 * counter.get_total_flops() / float(np.median(spent)) / 1e9
            peak = operations / float(np.median(best)) / 1e9
            rows.append(
                [
                    name,
                    precision,
                    f"{np.median(spent) * 1e3:.1f}",
                    f"{samples / np.median(spent) / 1e3:.0f}",
                    f"{rate:.0f}",
                    f"{peak:.0f}",
                    f"{rate / peak:.0%}",
                ]
            )
    header = ["preset", "type", "step, ms", "1,000 samples/s", "GFLOP/s", "of a product alone", "share"]
    print_table("Training steps", header, rows, words=2)


if __name__ == "__main__":
    main()
