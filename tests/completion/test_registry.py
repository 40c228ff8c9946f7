"""Priors in the cache of a model hub: its layout, made by hand, and ids that name no such place."""

import shutil
from pathlib import Path

import pytest
import torch

from shapeprior.completion.registry import bundled_folder, hub_cache, hub_prior_path, load
from shapeprior.errors import CheckpointError

OLD, NEW = "a" * 40, "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one model of two commits; files of a snapshot are links to blobs, as the clients make them."""
    folder = tmp_path / "home" / "hub" / "models--some-lab--mug.prior_1"
    for commit, family in ((OLD, "can"), (NEW, "mug")):
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for name in ("config.json", "checkpoint.safetensors"):
            blob = folder / "blobs" / f"{commit}{name}"
            blob.parent.mkdir(exist_ok=True)
            shutil.copy(bundled_folder() / "priors" / family / name, blob)
            (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs" / "pr").mkdir(parents=True)
    for ref, commit in (("main", NEW), ("v1.0", OLD), ("pr/2", OLD)):
        (folder / "refs" / ref).write_text(commit)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("revision", "commit"),
    [("", NEW), ("@main", NEW), ("@v1.0", OLD), ("@pr/2", OLD), (f"@{OLD}", OLD), (f"@{NEW}", NEW)],
)
def test_a_revision_is_a_branch_a_tag_or_a_commit(cache: Path, revision: str, commit: str) -> None:
    assert hub_prior_path(f"some-lab/mug.prior_1{revision}") == cache / "snapshots" / commit


def test_load_takes_an_id(cache: Path) -> None:
    assert torch.equal(load("some-lab/mug.prior_1").codes, load("mug").codes)
    assert torch.equal(load("some-lab/mug.prior_1@v1.0").codes, load("can").codes)


def test_a_folder_is_meant_before_an_id(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(bundled_folder() / "priors" / "bowl", tmp_path / "some-lab" / "mug.prior_1")
    assert torch.equal(load("some-lab/mug.prior_1").codes, load("bowl").codes)


def test_the_cache_is_where_the_clients_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert hub_cache() == Path("/home/someone/.cache/huggingface/hub")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert hub_cache() == Path("/cache/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert hub_cache() == Path("/home/someone/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/models")
    assert hub_cache() == Path("/models")


@pytest.mark.parametrize(
    ("prior", "command"),
    [
        ("other/mug", "`hf download other/mug`"),
        ("some-lab/mug.prior_1@v2", "`hf download some-lab/mug.prior_1 --revision v2`"),
        ("some-lab/mug.prior_1@" + "b" * 40, "--revision " + "b" * 40),
    ],
)
def test_what_is_not_cached_is_refused_with_the_command(cache: Path, prior: str, command: str) -> None:
    with pytest.raises(CheckpointError, match="not in the cache") as refusal:
        load(prior)
    assert command in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "../../../etc", "/etc", "a" * 39, "A" * 40, "a" * 41, "a" * 40 + "\nb", "\0" * 40]
)
def test_a_broken_ref_is_not_followed(cache: Path, text: str) -> None:
    (cache / "refs" / "main").write_text(text)
    with pytest.raises(CheckpointError, match="not in the cache"):
        hub_prior_path("some-lab/mug.prior_1")


@pytest.mark.parametrize(
    "prior",
    [
        "muq",
        "a/b/c",
        "/a/b",
        "../b",
        "a/..",
        "./b",
        "a/.b",
        "a/b.",
        "-a/b",
        "a/b--c",
        "a/b..c",
        "a\\b/c",
        "a/b@",
        "a/b@../c",
        "a/b@c/../d",
        "a/b@/c",
        "a/b@c//d",
        "a/b@.c",
        "a/b@c/.d",
        "a/b\n",
        "a/" + "b" * 97,
        "a b/c",
        "",
    ],
)
def test_what_is_no_id_is_no_place(cache: Path, prior: str) -> None:
    assert hub_prior_path(prior) is None
    with pytest.raises(CheckpointError, match="expected a run folder"):
        load(prior)
