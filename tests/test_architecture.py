"""The shape of the package: which way imports go, what stays light, what is public, and how large a file may be."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import shapeprior
from shapeprior.cli import COMMANDS, main

SOURCE = Path(shapeprior.__file__).parent

LAYERS = [
    # What everything stands on.
    "errors",
    "config",
    "frames",
    "row_codes",
    "cell_grid",
    "mesh",
    # Mesh files and collections of them.
    "ply_writer",
    "mesh_io",
    "mesh_source",
    "units",
    "synsets",
    "shape_ids",
    "listing",
    "store_names",
    "mesh_folder",
    "mesh_list",
    "shapenet",
    "deepsdf_split",
    "npz_io",
    # From a mesh to its signed distance.
    "rays",
    "orient",
    "clean",
    "face_tree",
    "pockets",
    "inside",
    "seams",
    "sides",
    "find_sides",
    "signed_distance",
    # From the distance to samples.
    "surface",
    "strategies.near",
    "strategies.uniform",
    "strategies.edges",
    "strategies.rays",
    "strategies.on_surface",
    "strategies",
    "sampling",
    "deepsdf_samples",
    "layouts",
    # Data sets.
    "remote_store",
    "store",
    "tensor_file",
    "shape_files",
    "records",
    "manifest",
    "dataset",
    # Preparing them.
    "variants",
    "prepare_shape",
    "worker_loop",
    "worker_process",
    "workers",
    "cluster",
    "assign",
    "claim",
    "prepare",
    # Generated meshes.
    "families.lofts",
    "families.solids",
    "families.can",
    "families.mug",
    "families.bowl",
    "families.camera_parts",
    "families.camera_classics",
    "families.camera",
    "families.airplane_surfaces",
    "families.airplane_parts",
    "families.airplane_jets",
    "families.airplane_fighters",
    "families.airplane_propellers",
    "families.airplane",
    "families",
    "synthesize",
    # Partial views.
    "lens",
    "camera",
    "views",
    "observation",
    "joined_views",
    "sensor_model",
    "scan_file",
    "intrinsics",
    "point_cloud",
    "lzf",
    "pcd",
    "las_layout",
    "las",
    "point_files",
    "exr",
    "depth_files",
    "scan_io",
    "pose_io",
    "view_frame",
    "encoder_views",
    "placement",
    "placed_scan",
    "scan_folder",
    "strays",
    "observed_samples",
    "seen_through",
    # Surfaces out of fields, and how good they are.
    "cube_cases",
    "brick_cells",
    "brick_grid",
    "surface_grid",
    "follow_surface",
    "crossings",
    "vertex_normals",
    "sharp_edges",
    "keep_components",
    "extract",
    "support",
    "verdict",
    "metric_definitions",
    "point_metrics",
    "edge_normals",
    "seen_surface",
    "metrics",
    "compare_meshes",
    "surface_distances",
    # What priors are evaluated on, and what they are compared with.
    "truth",
    "shape_views",
    "baselines",
    "baselines.grid_field",
    "baselines.view_evidence",
    "baselines.linear_model",
    "baselines.mean_shape",
    "baselines.nearest_training_shape",
    "baselines.screened_poisson",
    "baselines.upper_bound",
    "machine",
    "evaluate_config",
    "score_summary",
    "outcome_summary",
    "report_table",
    "evaluation_files",
    # Pictures.
    "crease_normals",
    "lighting",
    "render",
    "pictures",
    "slices",
    "inspect_mesh",
    # The report of an evaluation.
    "decimate",
    "error_colors",
    "report_document",
    "report_select",
    "report_scenes",
    "report_pictures",
    "report_svg",
    "report_plots",
    "report_summary",
    "report_gallery",
    "report",
    # Settings and files that need no network to be read.
    "train_config",
    "bundled",
    "warm_start",
    "batch_order",
    "train_log",
    "interruption",
    "freed_memory",
    "hub",
    # Networks: from here on, torch.
    "decoder",
    "decoded_field",
    "device",
    "precision",
    "deepsdf",
    "triplane_tangents",
    "triplane",
    "presets",
    "bounded_build",
    "checkpoint",
    "model_card",
    # Training.
    "losses",
    "objective",
    "code_space",
    "encode_samples",
    "row_adam",
    "refine",
    "encode_mesh",
    "codes_between",
    "code_mixture",
    "interpolate",
    "nearest_shapes",
    "compiled",
    "training_samples",
    "first_state",
    "ranks",
    "muon",
    "learner",
    "run_folder",
    "epoch",
    "train",
    # Completion.
    "encoder",
    "encoder_file",
    "first_look",
    "fill_sphere",
    "residuals",
    "infer_config",
    "hypothesis",
    "overreach",
    "starts",
    "latent_estimate",
    "infer",
    "seen_detail",
    "completion",
    "prior",
    "prior_digest",
    "encoder_training",
    "recognition",
    "find_code",
    "write_shapes",
    # The re-implemented work, and ours beside it.
    "original_published",
    "original_measure",
    "original_tables",
    # What users start.
    "loaded_prior",
    "training_grids",
    "evaluation_methods",
    "evaluate_row",
    "evaluation_plan",
    "evaluate",
    "demo",
    "complete_scan",
    "complete_folder",
    "console",
    "prior_commands",
    "complete_command",
    "evaluate_command",
    "cli",
    "__main__",
    "__init__",
]
"""Every module, each of which may import only what stands above it."""
GEOMETRY_HALF = LAYERS[: LAYERS.index("decoder")]
"""What works without torch."""

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

COMMAND_LINE = {
    "demo": {"--out"},
    "synthesize": {"{can,mug,bowl,camera,airplane}", "--count", "--out", "--seed"},
    "prepare": {
        "PATH",
        "--out",
        "--layout",
        "--root",
        "--category",
        "--samples",
        "--up",
        "--unit",
        "--variants",
        "--test-share",
        "--min-confidence",
        "--workers",
        "--cluster",
        "--timeout",
        "--memory",
        "--seed",
    },
    "inspect": {"PATH", "--out", "--up"},
    "train": {
        "PATH",
        "--out",
        "--preset",
        "--epochs",
        "--encoder-steps",
        "--seed",
        "--device",
        "--compile",
        "--license",
    },
    "train-encoder": {"PATH", "--data", "--steps", "--seed", "--device"},
    "complete": {
        "PATH",
        "--prior",
        "--out",
        "--intrinsics",
        "--mask",
        "--camera-pose",
        "--sensor",
        "--pose",
        "--placement",
        "--edges",
        "--resolution",
        "--code-only",
        "--alternatives",
        "--workers",
        "--seed",
        "--device",
    },
    "evaluate": {
        "STR",
        "--data",
        "--out",
        "--tasks",
        "--split",
        "--views",
        "--sensors",
        "--placement",
        "--baselines",
        "--against",
        "--max-shapes",
        "--resolution",
        "--meshes",
        "--pictures",
        "--workers",
        "--cluster",
        "--timeout",
        "--memory",
        "--seed",
    },
    "encode": {
        "STR",
        "PATH",
        "--out",
        "--mesh",
        "--refine",
        "--up",
        "--steps",
        "--resolution",
        "--seed",
        "--device",
    },
    "nearest": {
        "STR",
        "--count",
        "--data",
        "--intrinsics",
        "--mask",
        "--camera-pose",
        "--sensor",
        "--pose",
        "--up",
        "--seed",
    },
    "interpolate": {"STR", "--out", "--steps", "--path", "--up", "--resolution", "--seed"},
    "sample": {"STR", "--out", "--count", "--temperature", "--resolution", "--seed"},
    "original": {"--out", "--count", "--seed"},
}
"""Each command's arguments; scripts and papers rely on them."""

MAX_LINES = 300
MAX_FUNCTION_LINES = 50


@cache
def sources() -> dict[str, Path]:
    """Every module of the package by its name below it."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each module of the package that a file imports, inside functions too."""
    modules = sources()

    def below(dotted: str) -> str:
        name = dotted.removeprefix("shapeprior").removeprefix(".")
        return name or "__init__"

    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "shapeprior":
                    yield node.lineno, below(alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "shapeprior":
            for alias in node.names:
                whole = below(f"{node.module}.{alias.name}")
                yield node.lineno, whole if whole in modules else below(node.module or "")


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)


# Imports go one way.


def test_every_module_has_a_place() -> None:
    unplaced = sorted(sources().keys() - set(LAYERS))
    assert not unplaced, (
        f"new modules {unplaced}: add each to LAYERS in {Path(__file__).name}, below everything that it imports and, "
        "if it needs no torch, above 'decoder'"
    )
    gone = sorted(set(LAYERS) - sources().keys())
    assert not gone, f"modules {gone} are gone: take them out of LAYERS in {Path(__file__).name}"
    assert len(set(LAYERS)) == len(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_imports_go_up_the_list_only(name: str) -> None:
    allowed = set(LAYERS[: LAYERS.index(name)])
    wrong = [
        f"{name} imports {imported} (line {line}), which stands below it in LAYERS of {Path(__file__).name}: "
        "move what both need to a module above them"
        for line, imported in imports_of(sources()[name])
        if imported not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_imports_sees_them_all(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import numpy\nimport shapeprior.cli\nfrom shapeprior.mesh import TriangleMesh\n"
        "def f():\n    from shapeprior import train\n    from shapeprior.families import synthesize, can\n"
        "    import shapeprior\n    from shapeprior import load\n"
    )
    found = ["cli", "mesh", "train", "families", "families.can", "__init__", "__init__"]
    assert sorted(name for _, name in imports_of(path)) == sorted(found)


# What stays light.


def test_the_geometry_half_works_without_torch() -> None:
    names = [f"shapeprior.{name}" for name in GEOMETRY_HALF]
    result = run_python(
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n        sys.exit(name + ' imports torch')\n"
    )
    assert result.returncode == 0, result.stderr


def test_the_geometry_half_names_no_torch() -> None:
    # Inside functions, too.
    for name in GEOMETRY_HALF:
        for node in ast.walk(tree_of(sources()[name])):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(imported.split(".")[0] == "torch" for imported in names), name


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "--help"], ["train", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    result = run_python(
        f"import sys\nsys.argv = ['shapeprior', *{arguments}]\nfrom shapeprior.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'igl', 'trimesh', 'scipy', 'PIL', 'embreex', 'manifold3d', 'laspy', 'OpenEXR'} & sys.modules.keys()\n"
        "if heavy:\n    sys.exit('loaded ' + ', '.join(sorted(heavy)))\n"
    )
    assert result.returncode == 0, result.stderr
    assert "usage: shapeprior" in result.stdout


def test_importing_the_package_loads_nothing_else() -> None:
    result = run_python(
        "import sys\nbefore = set(sys.modules)\nimport shapeprior\n"
        "new = {name.split('.')[0] for name in sys.modules.keys() - before}\n"
        "heavy = new - {'shapeprior'} - sys.stdlib_module_names\n"
        "if heavy:\n    sys.exit(' '.join(sorted(heavy)))\n"
    )
    assert result.returncode == 0, result.stderr


# What is public.


def test_the_public_names_are_these() -> None:
    assert shapeprior.__all__ == PUBLIC
    assert dir(shapeprior) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_can_be_imported(name: str) -> None:
    value = getattr(importlib.import_module("shapeprior"), name)
    assert value.__name__ == name
    assert value.__doc__


def test_other_names_are_missed_by_name() -> None:
    with pytest.raises(AttributeError, match="module 'shapeprior' has no attribute 'nothing'"):
        shapeprior.nothing  # noqa: B018


def test_type_checkers_see_what_python_sees() -> None:
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree_of(SOURCE / "__init__.py"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shapeprior.")
        for alias in node.names
    }
    assert sorted(imported) == PUBLIC


def help_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["shapeprior", *arguments, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return capsys.readouterr().out


def test_the_commands_are_these(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(COMMANDS) == list(COMMAND_LINE)
    usage = help_of([], monkeypatch, capsys)
    assert "{" + ",".join(COMMAND_LINE) + "}" in usage
    for command in COMMAND_LINE:
        assert re.search(rf"^\W+{command}\s+\w", usage, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMAND_LINE)
def test_the_arguments_are_these(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of([command], monkeypatch, capsys)
    # One row an argument: a flag, or a positional's placeholder, at the left of its box.
    rows = set(re.findall(r"^[│| ] (--[a-z][a-z-]*|[A-Z]+|\{[a-z,]+\})(?=[ ,])", text, flags=re.MULTILINE))
    assert rows == COMMAND_LINE[command]


# How large and how plain.


@pytest.mark.parametrize("name", LAYERS)
def test_files_and_functions_stay_small(name: str) -> None:
    path = sources()[name]
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines: move a concept to a file of its own"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # What a docstring says at length makes no function hard to read.
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            length = (node.end_lineno or first.lineno) - first.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} has {length} lines of code: split it"


@pytest.mark.parametrize("name", LAYERS)
def test_no_pickle_no_print_and_no_lazy_annotations(name: str) -> None:
    for node in ast.walk(tree_of(sources()[name])):
        where = f"{name}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "cPickle", "dill", "cloudpickle", "joblib"} & set(names), f"{where}: pickle"
            assert "annotations" not in names, f"{where}: jaxtyping cannot read postponed annotations"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print", f"{where}: print; use shapeprior.console.say"
            assert called not in {"torch.load", "torch.save"}, f"{where}: {called} pickles; use safetensors"
            for keyword in node.keywords:
                unsafe = keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                assert not unsafe, f"{where}: allow_pickle"
            if called in {"np.load", "numpy.load"}:
                assert "allow_pickle" in {keyword.arg for keyword in node.keywords}, f"{where}: say allow_pickle=False"
