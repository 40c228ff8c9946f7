"""Finds and loads priors: run folders, priors that ship with the package, and priors in the cache of a model hub.

Nothing is ever downloaded. The layout of the cache is that of the Hugging Face Hub's clients:
`models--OWNER--NAME/refs/REVISION` holds a commit, and `models--OWNER--NAME/snapshots/COMMIT` the files of that commit.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from shapeprior.completion.estimate import LatentEstimate
from shapeprior.completion.prior import ShapePrior
from shapeprior.errors import CheckpointError, CompletionError, ConfigError
from shapeprior.geometry.transforms import Similarity
from shapeprior.models.checkpoint import RunConfig, read_checkpoint
from shapeprior.models.device import usable_device
from shapeprior.models.encoder import read_encoder
from shapeprior.scans.observation import Observation
from shapeprior.scans.placement import PlacementMode
from shapeprior.scans.prepared_view import PreparedView

MAX_REF_BYTES = 200
VERDICT_ORDER = {"explained": 0, "doubtful": 1, "unexplained": 2}
"""Rank of a fit by its verdict. The objective decides among fits with the same verdict."""
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?P<owner>{_PART})/(?P<name>{_PART})(?:@(?P<revision>[A-Za-z0-9_][A-Za-z0-9._/-]{{0,200}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load(prior: str | os.PathLike[str], *, device: str = "cpu", with_encoder: bool = True) -> ShapePrior:
    """Load a run folder, a bundled prior by its name (such as ``mug``), or a downloaded one by its id on the Hugging
    Face Hub.

    A path that exists comes before a name, and a name before an id. Ids (``owner/name`` or ``owner/name@revision``) are
    looked up in the local cache of the Hub's clients, and nothing is downloaded. With `with_encoder` False, the encoder
    beside the checkpoint is not loaded. Raises CheckpointError if there is no such prior or its files are not a whole
    checkpoint of this version, ConfigError if `device` cannot be used.
    """
    place = usable_device(device)
    path = bundled_prior_path(prior) or Path(prior)
    if not path.exists():
        # A path object is never an id.
        path = (hub_prior_path(prior) if isinstance(prior, str) else None) or path
    if not path.exists():
        raise CheckpointError(
            f"{prior}: no such folder and no bundled prior; expected a run folder, one of "
            f"{', '.join(bundled_priors())}, or the id owner/name of a downloaded prior"
        )
    config = RunConfig.read(path)
    checkpoint = read_checkpoint(path, config)
    checkpoint.decoder.eval()
    encoder = read_encoder(path, checkpoint.codes) if with_encoder else None
    if with_encoder and encoder is None:
        logging.getLogger("shapeprior").info(
            "%s: no encoder; completion starts from training codes alone; `shapeprior train-encoder` adds one", path
        )
    return ShapePrior(
        decoder=checkpoint.decoder.to(place),
        codes=checkpoint.codes.to(place),
        config=config,
        encoder=None if encoder is None else encoder.to(place),
    )


def loaded(prior: ShapePrior | str, *, device: str = "cpu", sha256: str | None = None) -> ShapePrior:
    """Return a prior itself, or the one of a name, which each process loads once.

    With `sha256`, the named prior must have this digest (`prior_digest`). Raises the errors of `load`, and
    CheckpointError if the digest differs.
    """
    return prior if isinstance(prior, ShapePrior) else _load_once(prior, device, sha256)


@lru_cache(maxsize=4)
def _load_once(prior: str, device: str, sha256: str | None) -> ShapePrior:
    found = load(prior, device=device)
    if sha256 is not None and prior_digest(found) != sha256:
        raise CheckpointError(f"{prior}: changed while scans were completed with it; expected it to stay; run it again")
    return found


def prior_digest(prior: ShapePrior) -> str:
    """Return the SHA-256, in hexadecimal, of a prior's settings, weights, codes and encoder."""
    digest = hashlib.sha256(json.dumps(prior.config.to_json(), sort_keys=True).encode())
    modules = {"decoder": prior.decoder, "encoder": prior.encoder}
    for kind, module in modules.items():
        for name, value in sorted(module.state_dict().items()) if module is not None else ():
            digest.update(f"{kind}.{name}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(prior.codes.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Recognized:
    """The fit of one prior to a scan."""

    name: str
    prior: ShapePrior
    estimate: LatentEstimate | None
    """None if no code of the prior gives a surface."""


def recognize(
    view: Observation | PreparedView,
    *,
    priors: Sequence[str | os.PathLike[str]] | None = None,
    T_unit_world: Similarity | None = None,
    placement: PlacementMode | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> list[Recognized]:
    """Fit every prior (by default the bundled ones) to a view, and return the fits, the likeliest category first.

    Fits that explain the view come before doubtful ones, and these before the others. Among fits with the same verdict,
    the lower objective comes first. A shape that is unlike its category's raises it. Arguments and errors are those of
    `ShapePrior.complete`. Raises ConfigError if there is no prior to try.
    """
    names = bundled_priors() if priors is None else priors
    if not names:
        raise ConfigError("no prior to recognise a scan with; expected at least one name or folder")
    prepared = PreparedView.of(view, seed=seed)
    found = []
    for name in names:
        prior = load(name, device=device)
        try:
            estimate = prior.infer(prepared, T_unit_world=T_unit_world, placement=placement, seed=seed)
        except CompletionError:
            estimate = None
        found.append(Recognized(str(name), prior, estimate))
    return sorted(found, key=_rank)


def _rank(found: Recognized) -> tuple[int, float]:
    if found.estimate is None:
        return len(VERDICT_ORDER), 0.0
    return VERDICT_ORDER[found.estimate.verdict.kind], found.estimate.objective


def bundled_folder() -> Path:
    """Return the folder of the files that ship inside the package."""
    return Path(str(files("shapeprior"))) / "assets"


def bundled_priors() -> list[str]:
    """Return the names of the priors that ship with the package."""
    return sorted(path.parent.name for path in (bundled_folder() / "priors").glob("*/config.json"))


def bundled_prior_path(name: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a bundled prior. None if there is none of this name, or a file or folder has it."""
    if Path(name).exists() or str(name) not in bundled_priors():
        return None
    return bundled_folder() / "priors" / str(name)


def hub_prior_path(prior: str) -> Path | None:
    """Return the folder of a cached prior from its id ``owner/name`` or ``owner/name@revision``. None if it is no such
    id.

    A revision is a branch, a tag or a whole commit. Without one it is the branch `main`. Raises CheckpointError, which
    says how to download the prior, if it is not in the cache.
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
    """Return the folder of downloaded models: HF_HUB_CACHE, `hub` in HF_HOME, or the clients' default in the user's
    cache."""
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if stated:
        return Path(os.path.expandvars(stated)).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def _read_ref(path: Path) -> str | None:
    """Return the commit that a branch or tag names. None if the file is missing or holds anything else."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_REF_BYTES).decode("ascii", errors="replace").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None
