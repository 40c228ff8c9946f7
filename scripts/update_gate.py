"""Store new figures for the regression gate, after an intended change of results such as new bundled priors.

    python scripts/update_gate.py

It prints old and new figures and writes tests/regression/gate.json, which belongs into the same commit as the change.
"""

import json
import sys
import tempfile
from pathlib import Path

from shapeprior.io.files import write_bytes
from shapeprior.parallel.system import machine, versions

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from regression import gate


def main() -> None:
    before = gate.read_stored() if gate.STORED.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        figures = gate.measured(Path(folder))
    for family, found in figures.items():
        for name, value in found.items():
            old = before.get(family, {}).get(name)
            print(f"{family:10s}{name:20s}{'-' if old is None else f'{old:.4f}':>12s} -> {value:.4f}")
    for line in gate.faults(before, figures):
        print(f"worse: {line}")
    document = {"machine": machine(), "versions": versions(), "figures": figures}
    write_bytes(gate.STORED, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    print(f"stored in {gate.STORED}")


if __name__ == "__main__":
    main()
