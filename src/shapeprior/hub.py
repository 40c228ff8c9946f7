"""Priors by the name that they have on a model hub, found in the local cache; nothing is ever downloaded.

The layout of the cache is that of the Hugging Face Hub's clients: `models--OWNER--NAME/refs/REVISION` holds a commit,
`models--OWNER--NAME/snapshots/COMMIT` the files of that commit.
"""

import os
import re
from pathlib import Path

from shapeprior.errors import CheckpointError

MAX_REF_BYTES = 200
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?P<owner>{_PART})/(?P<name>{_PART})(?:@(?P<revision>[A-Za-z0-9_][A-Za-z0-9._/-]{{0,200}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_prior_path(prior: str) -> Path | None:
    """The folder of a cached prior, from its id ``owner/name`` or ``owner/name@revision``; None if it is not such an id.

    A revision is a branch, a tag or a whole commit; without one it is the branch `main`. Raises CheckpointError, saying how
    to download it, if it is not in the cache.
    """
    found = _HUB_ID.fullmatch(prior)
    if found is None or any(twice in prior for twice in ("..", "--")):
        return None
    owner, name, revision = found["owner"], found["name"], found["revision"] or "main"
    if not all(part and not part.startswith(".") for part in revision.split("/")):
        return None
    folder = hub_cache() / f"models--{owner}--{name}"
    commit = revision if _COMMIT.fullmatch(revision) else _read_ref(folder / "refs" / revision)
    path = folder / "snapshots" / commit if commit else None
    if path is None or not path.is_dir():
        chosen = f" --revision {revision}" if found["revision"] else ""
        raise CheckpointError(
            f"{prior}: no such folder and not in the cache {hub_cache()}; expected a run folder, or a prior that was "
            f"downloaded; get it with `hf download {owner}/{name}{chosen}`"
        )
    return path


def hub_cache() -> Path:
    """The folder of downloaded models: HF_HUB_CACHE, or `hub` in HF_HOME, or the clients' default in the user's cache."""
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if stated:
        return Path(os.path.expandvars(stated)).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def _read_ref(path: Path) -> str | None:
    """The commit that a branch or tag names; None if the file is missing or holds anything else."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_REF_BYTES).decode("ascii", errors="replace").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None
