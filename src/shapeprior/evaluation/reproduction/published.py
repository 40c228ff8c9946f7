"""The published figures of "Learning Shape representations for 3D Reconstruction", the work that this project
re-implements.

Each figure is quoted with the file that states it in that work's repository
(JemuelStanley47/Learning-Shape-representations-DeepSDF-, commit afa8126). No figure here was measured by this project.
"""

from dataclasses import dataclass

WORK = "Learning Shape representations for 3D Reconstruction"
NOT_STATED = "not stated"
CATEGORIES = ("can", "mug", "bowl", "camera", "airplane")
"""The categories of the published figure; the work was also trained on bottles."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure."""

    value: str
    """The figure with its unit, as text."""
    source: str
    """The file that states it."""

    def __str__(self) -> str:
        return f"{self.value} ({self.source})"


PARAMETERS: dict[str, Published] = {
    "decoder": Published(value="MLP, 8 layers of 256", source="config_files/train_sdf.yaml, model/model_sdf.py"),
    "code size": Published(value="64", source="config_files/train_sdf.yaml"),
    "loss": Published(value="clamped L1", source="utils/utils_deepsdf.py"),
    "epochs": Published(value="30", source="README.md, table I"),
    "batch": Published(value="16 samples", source="config_files/train_sdf.yaml, model/train_sdf.py"),
    "SDF samples a shape": Published(value="10,000", source="README.md"),
    "training time": Published(value="18 h: 886.5 min on an A100 and 188.4 min on a V100", source="README.md"),
}
"""Training parameters by this project's names. Those that the work does not state are missing."""

SHAPES: dict[str, Published] = {
    name: Published(value=str(count), source="data/extract_sdf.ipynb")
    for name, count in {"can": 108, "mug": 214, "bowl": 186, "camera": 113, "airplane": 200}.items()
}
"""Number of training shapes of each category."""

DATA_COLLECTION_SECONDS = Published(value="16.5 s (0.275 min)", source="its table of times")
"""Time to compute the SDF samples of one object."""

INFERENCE: dict[str, Published] = {
    "Xeon CPU": Published(value="67.7 min", source="img/inference_time.png"),
    "T4": Published(value="42 s (0.7 min)", source="img/inference_time.png"),
    "V100": Published(value="18 s (0.3 min)", source="img/inference_time.png"),
    "A100": Published(value="14 s (0.24 min)", source="img/inference_time.png"),
}
"""Time from the code of a training shape to its mesh, for one object. The work's "resolution 256" evaluates 512³
points."""

CHAMFER_X1000: dict[str, Published] = {
    "mug": Published(value="51.05, 9 training shapes", source="eval/evaluate_results.ipynb")
}
"""1000 times half the sum of the two mean distances, with 10,000 points on each surface, for training shapes."""
