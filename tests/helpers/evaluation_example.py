"""An evaluation's folder with tiny meshes and made-up scores; not a test file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from helpers.plain_geometry import sphere

from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.io.meshes import save_mesh

EVIL = "</script><script>document.title = 'pwned'</script>"
"""An id that a page must not run."""
EVIL_REASON = "<img src=x onerror=\"document.title = 'pwned'\"> has 0 points; {{script}}"
IDEAL = {"views": 1, "sensor": "ideal"}
NOISY = {"views": 1, "sensor": "noise 0.01"}
DEFINITIONS = {
    "chamfer_l1": {"text": "half the sum of mean distances", "better": "lower", "worst": 2.0, "unit": "radii"},
    "fscore_2": {"text": "harmonic mean at 0.04", "better": "higher", "worst": 0.0, "unit": "share"},
}
WORST = {name: definition["worst"] for name, definition in DEFINITIONS.items()}


def write_evaluation(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write metrics.json and meshes; returns the document. Three shapes by three methods under two conditions; one
    fails."""
    truth = sphere(radius=0.9, subdivisions=2)
    save_mesh(folder / "meshes" / "truth.ply", truth)
    front = truth.vertices[truth.vertices[:, 2] > 0]
    (folder / "meshes" / "seen.ply").write_bytes(_bytes(trimesh.PointCloud(front).export(file_type="ply")))
    rows = []
    for condition in (IDEAL, NOISY):
        for index, name in enumerate(("egg/1", "egg/2", EVIL)):
            for place, method in enumerate(("shapeprior", "mean shape", "upper bound")):
                size = 0.03 * (1 + index + 2 * place + 4 * (condition is NOISY))
                failed = name == EVIL and method == "shapeprior"
                mesh = f"meshes/{method.replace(' ', '_')}_{index}_{len(rows)}.ply"
                if not failed:
                    vertices = truth.vertices * [1.0, 1.0, 1.0 - size]
                    save_mesh(folder / mesh, TriangleMesh(vertices=vertices, faces=truth.faces))
                rows.append(
                    {
                        "id": name,
                        "method": method,
                        "task": "view",
                        "condition": condition,
                        "views": [{"azimuth_deg": 30.0, "elevation_deg": 10.0}],
                        "metrics": WORST if failed else {"chamfer_l1": size, "fscore_2": 1.0 - size},
                        "seen": None if failed else {"chamfer_l1": size / 2, "fscore_2": None},
                        "unseen": None,
                        "seconds": None if failed else 1.5,
                        "verdict": None if failed else ("explained", "doubtful")[index % 2],
                        "explained": None if failed else 0.9,
                        "failure": EVIL_REASON if failed else None,
                        "mesh": None if failed else mesh,
                        "truth": "meshes/truth.ply",
                        "observation": "meshes/seen.ply",
                    }
                )
    document = {
        "version": 1,
        "prior": "egg",
        "data": "eggs",
        "settings": {"split": "test"},
        "prior_settings": {"seed": 0, "note": EVIL},
        "machine": {"processor": "a <processor>", "cores": 2, "memory_gib": 8.0},
        "versions": {"shapeprior": "0.1.0"},
        "seed": 0,
        "seconds": 12.5,
        "definitions": DEFINITIONS,
        "methods": {
            "shapeprior": {"text": "the prior", "not_run": None},
            "mean shape": {"text": "the mean", "not_run": None},
            "upper bound": {"text": "knows the truth", "not_run": None},
            "screened Poisson": {"text": "needs normals", "not_run": "pip install 'shapeprior[poisson]'"},
        },
        "rows": rows,
        "summary": summary_of(rows),
        "outcomes": outcomes_of(rows),
        "training": [
            {"epoch": epoch, "epochs": 5, "loss": 0.1 / epoch, "objective": 0.2 / epoch, "code_length": 1.0,
             "rate": 1.0,
             "seconds": 2.0 * epoch}
            for epoch in range(1, 6)
        ],
    }  # fmt: skip
    text = json.dumps({**document, **changes})
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    return json.loads(text)


def outcomes_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of views at known placements."""
    found = []
    for key in dict.fromkeys((row["method"], json.dumps(row["condition"])) for row in rows):
        mine = [row for row in rows if (row["method"], json.dumps(row["condition"])) == key]
        placed = dict.fromkeys(("turn_right", "scale_right", "placed_right", "wrong_explained"))
        found.append(
            {
                "method": key[0], "task": mine[0]["task"], "condition": json.loads(key[1]), "count": len(mine),
                "seconds_median": 1.5, "seconds_p90": 2.5, "explained": 0.5, **placed,
            }
        )  # fmt: skip
    return found


def summary_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means and the rest, as plainly as can be."""
    found = []
    for key in dict.fromkeys((row["method"], json.dumps(row["condition"])) for row in rows):
        mine = [row for row in rows if (row["method"], json.dumps(row["condition"])) == key]
        for metric in DEFINITIONS:
            values = np.array([row["metrics"][metric] for row in mine])
            found.append(
                {
                    "method": key[0],
                    "task": "view",
                    "condition": json.loads(key[1]),
                    "part": "all",
                    "metric": metric,
                    "mean": float(values.mean()),
                    "median": float(np.median(values)),
                    "p90": float(np.quantile(values, 0.9)),
                    "low": float(values.min()),
                    "high": float(values.max()),
                    "count": len(values),
                    "failures": sum(row["failure"] is not None for row in mine),
                }
            )
    return found


def _bytes(data: str | bytes | dict[str, Any]) -> bytes:
    assert isinstance(data, bytes)
    return data
