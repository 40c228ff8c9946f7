"""The names that `import shapeprior` offers: users and papers rely on them."""

import ast
import importlib
import importlib.metadata
from pathlib import Path

import pytest

import shapeprior

PUBLIC = [
    "Completion",
    "Dataset",
    "Observation",
    "PinholeCamera",
    "ShapePrior",
    "ShapePriorError",
    "Similarity",
    "TriangleMesh",
    "evaluate_prior",
    "join_views",
    "load",
    "load_mesh",
    "prepare_dataset",
    "preset",
    "read_scan",
    "read_views",
    "recognize",
    "save_mesh",
    "synthesize_family",
    "train_encoder",
    "train_prior",
]


def test_the_public_names_are_these() -> None:
    assert shapeprior.__all__ == PUBLIC
    assert dir(shapeprior) == PUBLIC


def test_public_names_can_be_imported() -> None:
    for name in PUBLIC:
        value = getattr(importlib.import_module("shapeprior"), name)
        assert value.__name__ == name
        assert value.__doc__, name


def test_other_names_are_missed_by_name() -> None:
    with pytest.raises(AttributeError, match="module 'shapeprior' has no attribute 'nothing'"):
        shapeprior.nothing  # noqa: B018


def test_type_checkers_see_what_python_sees() -> None:
    tree = ast.parse(Path(shapeprior.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shapeprior.")
        for alias in node.names
    }
    assert sorted(imported) == PUBLIC


def test_the_version_is_the_installed_one() -> None:
    assert shapeprior.__version__ == importlib.metadata.version("shapeprior")
