"""Where an object lies in a scan: a similarity from a JSON file."""

import os
import reprlib
from pathlib import Path

import numpy as np

from shapeprior.errors import ScanError
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import read_json_object


def read_pose(path: str | os.PathLike[str]) -> Similarity:
    """Similarity from JSON: scale, rotation (three rows) and offset, or a 4 x 4 matrix in rows.

    Raises ScanError if the file holds neither, or not a right-handed similarity.
    """
    path = Path(path)
    value = read_json_object(path)
    try:
        if "matrix" in value:
            matrix = np.asarray(value["matrix"], dtype=np.float64)
            if matrix.shape != (4, 4):
                raise ValueError(f"a matrix of shape {matrix.shape}, not 4 x 4")
            return Similarity.from_matrix(matrix)
        rotation, offset = np.shape(np.asarray(value["rotation"])), np.shape(np.asarray(value["offset"]))
        if (rotation, offset) != ((3, 3), (3,)):
            raise ValueError(f"rotation and offset of shapes {rotation} and {offset}, not (3, 3) and (3,)")
        return Similarity.from_json(value)
    except KeyError as error:
        found = "the keys " + (", ".join(reprlib.repr(key) for key in list(value)[:12]) or "none")
        expected = "the keys scale, rotation and offset, or matrix (4 x 4): write one of them"
        raise ScanError(f"{path}: found {found}; expected {expected}") from error
    except (ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ScanError(f"{path}: found no pose ({reason}); expected a right-handed similarity: check it") from error
