"""What "Learning Shape representations for 3D Reconstruction", the work that this project re-implements, says of itself.

Each figure is quoted with the file where it stands in that work's repository
(JemuelStanley47/Learning-Shape-representations-DeepSDF-, commit afa8126). Nothing here is ours.
"""

from dataclasses import dataclass

WORK = "Learning Shape representations for 3D Reconstruction"
NOT_STATED = "not stated"
CATEGORIES = ("can", "mug", "bowl", "camera", "airplane")
"""The categories of its figure; it trained on bottles, too."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as it was published."""

    value: str
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
"""By our name of the parameter; those it does not state are missing."""

SHAPES: dict[str, Published] = {
    name: Published(value=str(count), source="data/extract_sdf.ipynb")
    for name, count in {"can": 108, "mug": 214, "bowl": 186, "camera": 113, "airplane": 200}.items()
}
"""Shapes of each category."""

DATA_COLLECTION_SECONDS = Published(value="16.5 s (0.275 min)", source="its table of times")
"""SDF samples of one object."""

INFERENCE: dict[str, Published] = {
    "Xeon CPU": Published(value="67.7 min", source="img/inference_time.png"),
    "T4": Published(value="42 s (0.7 min)", source="img/inference_time.png"),
    "V100": Published(value="18 s (0.3 min)", source="img/inference_time.png"),
    "A100": Published(value="14 s (0.24 min)", source="img/inference_time.png"),
}
"""From the code of a training shape to its mesh, an object; its "resolution 256" asks for 512³ points."""

CHAMFER_X1000: dict[str, Published] = {
    "mug": Published(value="51.05, 9 training shapes", source="eval/evaluate_results.ipynb")
}
"""1000 times the half sum of mean distances, 10,000 points a surface, of shapes it was trained on."""
