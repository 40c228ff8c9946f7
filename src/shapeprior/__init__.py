"""Learn what a category of objects looks like from a folder of meshes, and complete one partial view into a closed
mesh.

Names are imported when they are first used, so that `import shapeprior` is quick and the geometry half works without
torch.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapeprior.completion.prior import ShapePrior as ShapePrior
    from shapeprior.completion.registry import load as load
    from shapeprior.completion.registry import recognize as recognize
    from shapeprior.completion.result import Completion as Completion
    from shapeprior.datasets.dataset import Dataset as Dataset
    from shapeprior.datasets.prepare import prepare_dataset as prepare_dataset
    from shapeprior.datasets.procedural import synthesize_family as synthesize_family
    from shapeprior.errors import ShapePriorError as ShapePriorError
    from shapeprior.evaluation.evaluate import evaluate_prior as evaluate_prior
    from shapeprior.geometry.camera import PinholeCamera as PinholeCamera
    from shapeprior.geometry.mesh import TriangleMesh as TriangleMesh
    from shapeprior.geometry.transforms import Similarity as Similarity
    from shapeprior.io.meshes import load_mesh as load_mesh
    from shapeprior.io.meshes import save_mesh as save_mesh
    from shapeprior.models.presets import preset as preset
    from shapeprior.scans.observation import Observation as Observation
    from shapeprior.scans.observation import join_views as join_views
    from shapeprior.scans.read import read_scan as read_scan
    from shapeprior.scans.read import read_views as read_views
    from shapeprior.training.train import train_prior as train_prior
    from shapeprior.training.train_encoder import train_encoder as train_encoder

_HOMES = {
    "Completion": "completion.result",
    "Dataset": "datasets.dataset",
    "Observation": "scans.observation",
    "PinholeCamera": "geometry.camera",
    "ShapePrior": "completion.prior",
    "ShapePriorError": "errors",
    "Similarity": "geometry.transforms",
    "TriangleMesh": "geometry.mesh",
    "evaluate_prior": "evaluation.evaluate",
    "join_views": "scans.observation",
    "load": "completion.registry",
    "load_mesh": "io.meshes",
    "prepare_dataset": "datasets.prepare",
    "preset": "models.presets",
    "read_scan": "scans.read",
    "read_views": "scans.read",
    "recognize": "completion.registry",
    "save_mesh": "io.meshes",
    "synthesize_family": "datasets.procedural",
    "train_encoder": "training.train_encoder",
    "train_prior": "training.train",
}
__all__ = sorted(_HOMES)
__version__: str
"""The installed version, read when it is first asked for."""

# A program that uses the package decides which of its log messages are shown.
logging.getLogger("shapeprior").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _installed_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'shapeprior' has no attribute '{name}'")
    return getattr(import_module(f"shapeprior.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("shapeprior")
    except PackageNotFoundError:
        return "unknown"  # The source folder is on the path, and nothing is installed.
