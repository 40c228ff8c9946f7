"""Samples that DeepSDF's own preprocessing made (Park et al. 2019, the released code), to train on without its meshes.

``SdfSamples/<dataset>/<class>/<instance>.npz`` holds rows (x, y, z, sdf), the outside ones in `pos`, the others in `neg`.
They lie in the unit frame: the released code normalises as `Similarity.to_unit_sphere` does (bounding-box centre of the
vertices that faces use, farthest of them at radius 1/1.03), and does not turn the mesh. Its distances are those to the
nearest of many rendered surface points, and so approximate.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from shapeprior.deepsdf_split import SplitEntry, entry_sources, read_split
from shapeprior.errors import ConfigError, MeshError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.npz import read_float_arrays
from shapeprior.mesh_folder import files_in, subfolders
from shapeprior.mesh_source import MeshSource
from shapeprior.sdf.sampling import SdfSamples

SAMPLES_FOLDER = "SdfSamples"
NORMALIZATION_FOLDER = "NormalizationParameters"
MAX_COORDINATE = 2.0
"""Samples lie in the cube [-1, 1]³ or near the surface in it; farther ones are of another frame."""


def find_deepsdf_samples(root: Path, *, split: Path | None = None) -> list[MeshSource]:
    """The samples below a DeepSDF data folder, sorted; with a split (a file, or a folder of them), those that it names.

    `root` holds SdfSamples, or is it. An entry of the split whose file is missing stays a source, to be refused by name.
    Raises MeshError if there are none, and what `read_split` does.
    """
    folder = root / SAMPLES_FOLDER if os.path.isdir(root / SAMPLES_FOLDER) else root
    entries = _all_entries(folder) if split is None else read_split(split)
    if not entries:
        raise MeshError(
            f"{root}: no {SAMPLES_FOLDER}/<dataset>/<class>/<instance>.npz; expected a data folder of DeepSDF; name another"
        )
    return entry_sources(
        entries,
        folder,
        lambda entry: folder / entry.dataset / entry.folder / f"{entry.instance}.npz",
        root if split is None else split,
    )


def read_deepsdf_samples(path: Path, *, max_samples: int, rng: np.random.Generator) -> SdfSamples:
    """A random `max_samples` of a file's samples in random order, or all if there are fewer; sdf negative inside.

    Rows with NaN or infinity are dropped, as DeepSDF drops NaN. Inside and outside keep their shares of the file.

    Raises MeshError if the file cannot be read, has no sample on one of the sides, has one on the wrong side, or lies in
    another frame; ConfigError if `max_samples` is not positive.
    """
    if max_samples < 1:
        raise ConfigError(f"max_samples = {max_samples}; expected at least 1")
    arrays = read_float_arrays(path, ("pos", "neg"))
    outside, inside = (_finite_rows(path, name, arrays[name]) for name in ("pos", "neg"))
    wrong = int(np.count_nonzero(outside[:, 3] < 0.0) + np.count_nonzero(inside[:, 3] > 0.0))
    if wrong:
        raise MeshError(
            f"{path}: {wrong} distances of the wrong sign; expected sdf above 0 in pos and below in neg; write it again"
        )
    rows = np.concatenate([outside, inside])
    _refuse_other_frame(path, rows)
    chosen = rows[rng.permutation(len(rows))[:max_samples]]
    return SdfSamples(
        points_unit=np.ascontiguousarray(chosen[:, :3]),
        sdf=np.ascontiguousarray(chosen[:, 3]),
        strategy=np.zeros(len(chosen), dtype=np.uint8),
        surface=None,
    )


def read_deepsdf_normalization(path: Path) -> Similarity:
    """``T_unit_world`` of a file of NormalizationParameters: ``p_unit = (p_world + offset) * scale``. Raises MeshError."""
    arrays = read_float_arrays(path, ("offset", "scale"))
    offset, scale = (np.ravel(arrays[name]).astype(np.float64) for name in ("offset", "scale"))
    if offset.shape != (3,) or scale.shape != (1,):
        raise MeshError(
            f"{path}: offset {arrays['offset'].shape}, scale {arrays['scale'].shape}; expected 3 and 1 numbers; write it again"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Similarity(scale=float(scale[0]), rotation=np.eye(3), offset=float(scale[0]) * offset)
    except ValueError as error:
        raise MeshError(f"{path}: {error}; expected DeepSDF's normalization; write it again") from None


def normalization_path(samples: Path) -> Path | None:
    """The file of NormalizationParameters that belongs to a file of samples; None if it is not there.

    The released code writes one only for shapes whose surface it sampled, too.
    """
    parts = list(samples.absolute().parts)
    if SAMPLES_FOLDER not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index(SAMPLES_FOLDER)] = NORMALIZATION_FOLDER
    path = Path(*parts)
    return path if os.path.exists(path) else None


def _all_entries(folder: Path) -> list[SplitEntry]:
    return [
        SplitEntry(dataset=dataset.name, folder=category.name, instance=file.stem, split=None)
        for dataset in subfolders(folder)
        for category in subfolders(dataset)
        for file in files_in(category, ".npz")
    ]


def _finite_rows(path: Path, name: str, array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows 4"]:
    if array.ndim != 2 or array.shape[1] != 4:
        raise MeshError(f"{path}: array '{name}' of shape {array.shape}; expected (samples, 4); write it again")
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) == 0:
        side = "outside" if name == "pos" else "inside"
        raise MeshError(f"{path}: no samples {side}; expected some on each side of the surface; drop the file")
    return rows


def _refuse_other_frame(path: Path, rows: Float[np.ndarray, "rows 4"]) -> None:
    """Refuse points out of bounds, and distances that no surface within the unit sphere has from its point."""
    if np.abs(rows[:, :3]).max() > MAX_COORDINATE:
        raise MeshError(
            f"{path}: a sample at {np.abs(rows[:, :3]).max():.3g} from the middle; expected the unit sphere and a little "
            "around it; normalise the shape"
        )
    excess = np.abs(rows[:, 3]) - np.linalg.norm(rows[:, :3], axis=1) - 1.0
    if excess.max() > 1e-3:
        raise MeshError(
            f"{path}: a distance of {rows[excess.argmax(), 3]:.3g}; expected those to a surface in the unit sphere; "
            "write the distances in the unit of the points"
        )
