"""How well meshes become samples: refusals, wrong signs, exactness and speed of distances, scaling, memory.

    python -m benchmarks.datasets.preparation MESHES --parts files signs distance speed scaling memory

MESHES is a folder whose subfolders are categories of mesh files. Markdown tables go to standard output. `--every 6`
takes every sixth file of each folder, `--folders mug can` takes these folders only, and `--cache FOLDER` keeps the slow
reference between runs. Each file is worked on in a process of its own, so that a crash or a hang is a row in a table
and does not end the run. All parts but `scaling` share one core.

  files     Load, clean, sign, sample (with the default settings), write. All files of a folder named `malformed` must
            be refused.
  signs     Wrong signs at 2,000 points for each mesh, drawn as DeepSDF's sampler does (45 % and 45 % near the surface
            with deviations 0.05 and 0.0158, 10 % in the unit ball). Only points farther than 0.01 from the surface
            count. A sign is wrong if it differs from `sign_reference.py`, whose definition of inside is this package's:
            a point is outside if it is seen from outside. The libraries go by winding numbers alone, so a part of their
            wrong signs is a difference of definition. All methods but "file as it is" get the mesh that this package
            cleaned and oriented. "igl" is `igl.signed_distance`, "pcu" is point-cloud-utils (`pip install
            point-cloud-utils`; left out if it is missing). Meshes of low confidence, which `prepare_dataset` refuses by
            default, are in the first two tables and not in the others.
  distance  The largest difference from distances computed face by face, at 100,000 points, on one file of each folder
            that has no sheets.
  speed     100,000 points on our cleaned mesh, ours and pcu in turns, medians of 5 rounds. pcu builds its trees in
            every call, ours builds them once for each mesh ("build").
  scaling   `prepare_dataset` on the folders mug and chair with one process and with two, in turns, medians of 3.
  memory    A torus of two million faces and a soup of as many (each face twice, none connected, with a hole), each in a
            fresh process.

The reference is checked by `sign_reference.py --check`. The face-by-face distance agrees with libigl's tree to 1e-15
wherever `distance` reports that figure, and the same code measures libraries that are known to be inexact.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.isolated import Isolated, use_one_core
from benchmarks.common.tables import print_machine, print_table

PARTS = ("files", "signs", "distance", "speed", "scaling", "memory")
MANY_WRONG = 0.005
"""Meshes with a larger share of wrong signs are counted in the tables."""
SPEED_FOLDERS = ("mug", "camera", "chair", "airplane")
SCALING_FOLDERS = ("mug", "chair")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folders", nargs="+", default=None)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--points", type=int, default=100_000, help="for distance and speed")
    parser.add_argument("--cache", type=Path, default=None)
    arguments = parser.parse_args()
    print_machine()
    if "scaling" in arguments.parts:  # Before everything shares one core.
        print_scaling([arguments.meshes / name for name in SCALING_FOLDERS])
    use_one_core()
    files = find_files(arguments.meshes, arguments.folders, arguments.every)
    run = Isolated()
    if "files" in arguments.parts:
        print_files(files, arguments.meshes / "malformed", run)
    if "signs" in arguments.parts:
        print_signs(files, arguments.cache, run)
    if "distance" in arguments.parts:
        print_distance(files, arguments.points, run)
    if "speed" in arguments.parts:
        print_speed(files, arguments.points, arguments.cache, run)
    if "memory" in arguments.parts:
        print_memory()
    run.close()


def find_files(meshes: Path, folders: list[str] | None, every: int) -> dict[str, list[Path]]:
    """Return mesh files by folder, without those that are malformed on purpose."""
    from shapeprior.io.meshes import MESH_SUFFIXES

    names = folders or sorted(path.name for path in meshes.iterdir() if path.is_dir() and path.name != "malformed")
    found = {name: sorted(p for p in (meshes / name).rglob("*") if p.suffix.lower() in MESH_SUFFIXES) for name in names}
    return {name: paths[::every] for name, paths in found.items()}


def print_files(files: dict[str, list[Path]], malformed: Path, run: Isolated) -> None:
    """Print a row for each folder, then each refusal."""
    from benchmarks.datasets.preparation_signs import prepare_file

    rows: list[list[str]] = []
    refusals: list[list[str]] = []
    for folder, paths in {**files, **find_files(malformed.parent, [malformed.name], 1)}.items():
        results = [run(prepare_file, path) for path in paths]
        done = [result for result in results if "confidence" in result]
        refused = [result for result in results if "refused" in result]
        failed = [result for result in results if "failure" in result]
        seconds = [result["seconds"] for result in done + refused]
        confidence = [result["confidence"] for result in done]
        times = [f"{np.median(seconds):.2f}", f"{max(seconds):.2f}"] if seconds else ["-", "-"]
        counts = [len(paths), len(done), len(refused), len(failed)]
        rows.append([folder, *map(str, counts), *times, f"{np.median(confidence):.3f}" if confidence else "-"])
        refusals += [
            [f"{folder}/{path.name}", result.get("refused") or f"FAILED: {result['failure']}"]
            for path, result in zip(paths, results, strict=True)
            if "confidence" not in result
        ]
    header = ["folder", "files", "prepared", "refused", "failed", "median s", "max s", "median confidence"]
    print_table("Files", header, rows)
    print_table("Refused or failed", ["file", "reason"], refusals, words=2)


def print_signs(files: dict[str, list[Path]], cache: Path | None, run: Isolated) -> None:
    """Print wrong signs by folder, separately for closed and open meshes, and the worst meshes."""
    from benchmarks.datasets.preparation_signs import METHODS, sign_errors

    results: list[tuple[str, dict[str, Any]]] = []
    for folder, paths in files.items():
        results += [(f"{folder}/{path.name}", run(sign_errors, path, 2_000, cache)) for path in paths]
    done = [(name, result) for name, result in results if "wrong" in result]
    header = ["meshes", "number", "points", "contested %", *METHODS]
    for title, key, only_accepted in (
        ("Wrong signs", "wrong", False),
        ("Wrong signs, contested points left out", "wrong_clear", False),
        ("Wrong signs of the meshes that are not refused", "wrong", True),
        ("Wrong signs of the meshes that are not refused, contested points left out", "wrong_clear", True),
    ):
        rows = []
        for folder in [*files, "all"]:
            for closed in (True, False):
                chosen = [
                    r
                    for name, r in done
                    if folder in (name.split("/")[0], "all")
                    and r["closed"] == closed
                    and (r["accepted"] or not only_accepted)
                ]
                if chosen:
                    rows.append([f"{folder}, {'closed' if closed else 'open'}", *_sign_cells(chosen, key, METHODS)])
        print_table(f"{title}: % of points (meshes with more than {MANY_WRONG:.1%})", header, rows)
    worst = sorted(done, key=lambda item: -item[1]["wrong"]["ours"] / item[1]["points"])[:10]
    rows = [
        [
            name,
            "closed" if r["closed"] else "open",
            f"{r['confidence']:.3f}",
            f"{100 * r['contested'] / r['points']:.1f}",
        ]
        + [f"{100 * r['wrong'][method] / r['points']:.2f}" if method in r["wrong"] else "-" for method in METHODS]
        for name, r in worst
    ]
    header = ["mesh", "", "confidence", "contested %", *METHODS]
    print_table("Worst ten of ours: wrong signs, % of points", header, rows, words=2)
    missing = [[name, r.get("refused") or f"FAILED: {r['failure']}"] for name, r in results if "wrong" not in r]
    print_table("Not compared", ["mesh", "reason"], missing, words=2)


def _sign_cells(chosen: list[dict[str, Any]], key: str, methods: Iterable[str]) -> list[str]:
    points = np.array([result["points"] - (result["contested"] if key == "wrong_clear" else 0) for result in chosen])
    contested = sum(result["contested"] for result in chosen) / sum(result["points"] for result in chosen)
    cells = [str(len(chosen)), str(points.sum()), f"{100 * contested:.2f}"]
    for method in methods:
        if method not in chosen[0][key]:
            cells.append("-")
            continue
        wrong = np.array([result[key][method] for result in chosen])
        many = np.count_nonzero(wrong > MANY_WRONG * points)
        cells.append(f"{100 * wrong.sum() / max(points.sum(), 1):.2f} ({many})")
    return cells


def print_distance(files: dict[str, list[Path]], points: int, run: Isolated) -> None:
    """Print the errors of one file of each folder, the first that has no sheets."""
    from benchmarks.datasets.preparation_speed import distance_errors

    rows = []
    for folder, paths in files.items():
        for path in paths:
            result = run(distance_errors, path, points)
            if "failure" in result:
                rows.append([f"{folder}/{path.name}: {result['failure']}", *5 * ["-"]])
            if "ours" in result:
                errors = [f"{result[name]:.1e}" for name in ("ours", "igl winding", "pcu, cleaned")]
                rows.append([f"{folder}/{path.name}", str(result["faces"]), f"{100 * result['hidden']:.1f}", *errors])
                break
    header = ["mesh", "faces", "hidden %", "ours", "igl.signed_distance, winding", "pcu"]
    print_table(f"Largest error of the distance, {points} points, radii", header, rows)


def print_speed(files: dict[str, list[Path]], points: int, cache: Path | None, run: Isolated) -> None:
    """Ours and point-cloud-utils: the middle file of some folders, and two generated meshes."""
    import trimesh

    from benchmarks.datasets.preparation_speed import throughput, write_torus

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        torus, ball = Path(scratch) / "torus.ply", Path(scratch) / "icosphere.ply"
        write_torus(torus, 250, 200, soup=False)
        trimesh.creation.icosphere(subdivisions=6).export(ball)
        chosen = [files[name][len(files[name]) // 2] for name in SPEED_FOLDERS if files.get(name)]
        for path in [*chosen, torus, ball]:
            name = path.name if path.parent == Path(scratch) else f"{path.parent.name}/{path.name}"
            r = run(throughput, path, points, 5, cache)
            if "failure" in r:
                rows.append([f"{name}: {r['failure']}", *9 * ["-"]])
                continue
            rates = [f"{points / r[key] / 1000:.0f}" for key in ("ours", "pcu")]
            ratios = [f"{r['pcu'] / r['ours']:.2f}", f"{r['pcu'] / (r['build'] + r['ours']):.2f}"]
            wrong = [
                f"{100 * r['wrong'].get(key, np.nan):.2f}" for key in ("ours", "pcu, cleaned", "pcu, file as it is")
            ]
            rows.append([name, str(r["faces"]), f"{r['build']:.2f}", *rates, *ratios, *wrong])
    header = ["mesh", "faces", "ours, build s", "ours, kpoints/s", "pcu, kpoints/s", "ratio", "ratio with build"]
    header += ["ours, wrong %", "pcu, wrong %", "pcu, file as it is, wrong %"]
    print_table(f"Speed, {points} points, one core, medians of 5 rounds in turns", header, rows)


def print_scaling(folders: list[Path]) -> None:
    """Print the times of one process and of two."""
    from benchmarks.datasets.preparation_speed import scaling

    seconds = scaling(folders, 3)
    one, two = float(np.median(seconds[1])), float(np.median(seconds[2]))
    rows = [[" and ".join(folder.name for folder in folders), f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}"]]
    print_table("Scaling, medians of 3 in turns", ["folders", "1 process, s", "2 processes, s", "times faster"], rows)


def print_memory() -> None:
    """Print the memory of preparing each mesh in a fresh process; another process makes the mesh."""
    from benchmarks.datasets.preparation_speed import memory

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, around, across, soup in (("torus", 1250, 800, False), ("soup", 900, 560, True)):
            path = Path(scratch) / f"{name}.ply"
            maker, fresh = Isolated(), Isolated()
            faces = maker(write_torus_file, path, around, across, soup).get("faces", 0)
            maker.close()
            result = fresh(memory, path)
            fresh.close()
            if "confidence" not in result:
                rows.append([f"{name}: {result.get('refused') or result['failure']}", str(faces), *3 * ["-"]])
                continue
            rows.append(
                [name, str(faces), f"{result['before']:.0f}", f"{result['peak']:.0f}", f"{result['seconds']:.1f}"]
            )
    print_table("Memory of preparing one mesh", ["mesh", "faces", "before, MiB", "peak, MiB", "s"], rows)


def write_torus_file(path: Path, around: int, across: int, soup: bool) -> dict[str, Any]:
    """Call `write_torus` in a process of its own."""
    from benchmarks.datasets.preparation_speed import write_torus

    return write_torus(path, around, across, soup=soup)


if __name__ == "__main__":
    main()
