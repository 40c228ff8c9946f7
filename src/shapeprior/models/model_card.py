"""The model card of a run, README.md as model hubs expect it: YAML front matter, then data, recipe and scores as
tables."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shapeprior.config import config_to_json
from shapeprior.errors import one_line
from shapeprior.io.files import write_bytes
from shapeprior.io.markdown import table
from shapeprior.models.checkpoint import RunConfig
from shapeprior.parallel.system import machine_text

TAGS = ("shape-completion", "signed-distance-function", "3d-reconstruction", "auto-decoder", "deepsdf")
HUB_LICENSES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense", "mpl-2.0"),
    *("gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""Licence names that the Hub knows. Any other one is stated as "other", with its name beside it."""
MAX_CATEGORIES = 20
"""Number of categories that are listed by name."""


def write_model_card(
    run: Path,
    config: RunConfig,
    *,
    seconds: float,
    license: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Write README.md, atomically, over one that may be there, and return its path. Raises OutputError.

    `seconds` is the training time. `license` is the user's licence for the weights; without one, the card claims none.
    `metrics` are scores by name. The machine is described by its processor and cores alone, without names or paths.
    """
    parts = [
        _front_matter(config, license),
        _introduction(config),
        "## Training data\n\n" + _data(config),
        "## Training\n\n" + _training(config, seconds),
    ]
    if metrics:
        rows = [(name, f"{value:.4g}") for name, value in metrics.items()]
        parts.append("## Scores\n\n" + _table(("score", "value"), rows))
    parts.append(
        "## Licence\n\n" + (f"{one_line(license)}\n" if license else "The maker of these weights stated none.\n")
    )
    path = run / "README.md"
    write_bytes(path, "\n".join(parts).encode())
    return path


def _front_matter(config: RunConfig, license_line: str | None) -> str:
    lines = ["---", "library_name: shapeprior", "pipeline_tag: other", "tags:"]
    # A JSON string is a YAML string, so the user's text cannot add keys of its own.
    lines += [f"- {json.dumps(tag)}" for tag in (*TAGS, config.decoder.kind)]
    if license_line:
        known = one_line(license_line).lower()
        if known in HUB_LICENSES:
            lines.append(f"license: {known}")
        else:
            lines += ["license: other", f"license_name: {json.dumps(one_line(license_line))}"]
    return "\n".join([*lines, "---", ""])


def _introduction(config: RunConfig) -> str:
    subject = ", ".join(_categories(config)) or "one category of objects"
    return (
        f"# Shape prior: {subject}\n\n"
        "Completes one partial view of an object, a depth image or a piece of a point cloud, into a closed mesh. "
        f"The decoder maps\na code of {config.decoder.code_size} numbers and a point to a signed distance "
        "(DeepSDF, Park et al., CVPR 2019).\n\n"
        "```python\nimport shapeprior\n\n"
        'prior = shapeprior.load("this/folder")  # or "owner/name", once downloaded\n'
        'prior.complete(shapeprior.read_scan("scan.ply")).save("object.glb")  # +y up\n```\n\n'
        "`checkpoint.safetensors` holds the weights and a code for each training shape, `config.json` the settings.\n"
    )


def _data(config: RunConfig) -> str:
    rows = [("training shapes", str(len(config.shape_ids)))]
    if categories := _categories(config):
        rows.append(("categories", ", ".join(categories)))
    settings = config.dataset.get("settings")
    return _table(("", ""), rows + list(_flat(settings if isinstance(settings, Mapping) else {})))


def _training(config: RunConfig, seconds: float) -> str:
    rows = [*_flat({"decoder": config_to_json(config.decoder)}), *_flat(config_to_json(config.train))]
    rows += [("seed", str(config.seed)), ("training time", _duration(seconds)), ("machine", machine_text())]
    return _table(("setting", "value"), rows)


def _categories(config: RunConfig) -> list[str]:
    """Return the categories that the data set states, or else the folders in which the shape ids begin."""
    stated = config.dataset.get("categories")
    found: Iterable[str]
    if isinstance(stated, list | tuple):
        found = {str(name) for name in stated if name}
    else:
        found = {shape_id.split("/")[0] for shape_id in config.shape_ids if "/" in shape_id}
    names = sorted(found)
    return (
        names if len(names) <= MAX_CATEGORIES else [*names[:MAX_CATEGORIES], f"and {len(names) - MAX_CATEGORIES} more"]
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Return settings as rows; the names of nested ones are joined by dots."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        elif isinstance(item, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, item))
        else:
            yield f"{prefix}{name}", str(item)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{line}\n" for line in table(head, rows))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
