"""The regression gate: a small fixed evaluation of the bundled priors, and its stored figures.

`test_gate.py` compares with the stored figures, and `scripts/update_gate.py` stores new ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from shapeprior.completion.registry import bundled_priors
from shapeprior.datasets.prepare import prepare_dataset
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.datasets.procedural import synthesize_family
from shapeprior.evaluation.config import EvaluateConfig
from shapeprior.evaluation.evaluate import evaluate_prior
from shapeprior.evaluation.metrics import METRIC_DEFINITIONS, MetricsConfig
from shapeprior.evaluation.summary import find_summary
from shapeprior.sdf.sampling import SamplingConfig

STORED = Path(__file__).with_name("gate.json")
SHAPES = 3
"""Generated shapes of each family."""
SEED = 1
"""Seed of the shapes, which training does not use."""
CONFIG = EvaluateConfig(
    tasks=("view",),
    resolution=96,
    baselines=(),
    meshes=False,
    pictures=False,
    metrics=MetricsConfig(surface_points=8000, volume_points=30_000, edge_points=8000, emd_points=256),
)
RELATIVE = 0.05
"""Share of the stored figure by which a mean may be worse, in addition to `MARGINS`."""
MARGINS = {
    "chamfer_l1": 0.001,
    "chamfer_l2_x1000": 0.1,
    "fscore_05": 0.01,
    "fscore_1": 0.01,
    "fscore_2": 0.01,
    "normal_consistency": 0.005,
    "iou": 0.01,
    "mesh_accuracy": 0.002,
    "mesh_completion": 0.01,
    "edge_normal_deg": 1.0,
    "emd": 0.003,
    # One pin-hole, or one part, in one of the three shapes is chance.
    "whole": 0.34,
    "parts_error": 0.34,
    "genus_error": 0.34,
    "thin_covered": 0.02,
    "thin_thickness": 0.03,
    "torn_border": 0.1,
    "roughness_deg": 0.3,
}
"""Amount by which the mean of each metric may be worse: more than what another processor's rounding does to a
solver's path."""
Figures = Mapping[str, Mapping[str, float | int]]
"""Means of the metrics, and the number of failures, by family."""


def measured(folder: Path) -> Figures:
    """Evaluate every bundled prior on generated shapes; data sets and reports are written below `folder`."""
    figures = {}
    for family in bundled_priors():
        synthesize_family(family, count=SHAPES, out=folder / family / "meshes", seed=SEED)
        data = prepare_dataset(
            folder / family / "meshes",
            folder / family / "data",
            config=PrepareConfig(test_share=1.0, sampling=SamplingConfig.deepsdf(1000)),
            seed=SEED,
            workers=0,
        )
        found = evaluate_prior(family, data, folder / family / "report", config=CONFIG, seed=SEED, workers=0)
        entries = {name: find_summary(found["summary"], name) for name in METRIC_DEFINITIONS if _has(found, name)}
        figures[family] = {name: round(entry["mean"], 6) for name, entry in entries.items()}
        figures[family]["failures"] = entries["chamfer_l1"]["failures"]
    return figures


def faults(stored: Figures, found: Figures) -> list[str]:
    """Return one line for each figure that is worse than the stored one by more than its margin."""
    lines = []
    for family, figures in stored.items():
        now = found.get(family, {})
        if now.get("failures", SHAPES) > figures["failures"]:
            lines.append(f"{family}: {now.get('failures', 'all')} failures; stored {figures['failures']}")
        for name, figure in figures.items():
            if name == "failures":
                continue
            if name not in now:
                lines.append(f"{family} {name}: gone; stored {figure:.4f}")
                continue
            worse = METRIC_DEFINITIONS[name].badness(now[name]) - METRIC_DEFINITIONS[name].badness(figure)
            allowed = MARGINS[name] + RELATIVE * abs(figure)
            if not worse <= allowed:
                lines.append(
                    f"{family} {name}: {now[name]:.4f}; stored {figure:.4f}: worse by {worse:.4f}, "
                    f"allowed are {allowed:.4f}"
                )
    return lines


def read_stored() -> Figures:
    return json.loads(STORED.read_text(encoding="utf-8"))["figures"]


def _has(document: dict, metric: str) -> bool:
    return any(row["metrics"][metric] is not None for row in document["rows"])
