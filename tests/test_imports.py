"""What stays light: help, `import shapeprior`, and everything that works without torch.

Which way imports go between the subpackages is checked by `lint-imports`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import shapeprior

SOURCE = Path(shapeprior.__file__).parent
WITHOUT_TORCH = ("geometry", "parallel", "io", "sdf", "datasets", "scans", "visualization")


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "--help"], ["train", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    result = run_python(
        f"import sys\nsys.argv = ['shapeprior', *{arguments}]\nfrom shapeprior.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'igl', 'trimesh', 'scipy', 'PIL', 'embreex', 'manifold3d', 'laspy', 'OpenEXR'} & "
        "sys.modules.keys()\nif heavy:\n    sys.exit('loaded ' + ', '.join(sorted(heavy)))\n"
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


@pytest.mark.slow
def test_geometry_files_data_sets_and_pictures_work_without_torch() -> None:
    paths = [path for folder in WITHOUT_TORCH for path in sorted((SOURCE / folder).rglob("*.py"))]
    names = [".".join(("shapeprior", *path.relative_to(SOURCE).with_suffix("").parts)) for path in paths]
    names = [name.removesuffix(".__init__") for name in names]
    result = run_python(
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n        sys.exit(name + ' imports torch')\n"
    )
    assert result.returncode == 0, result.stderr
