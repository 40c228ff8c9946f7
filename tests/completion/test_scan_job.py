"""One function completes one scan, for the command, for folders and for whoever asks with `auto`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shapeprior.completion.prior import ShapePrior
from shapeprior.completion.registry import load
from shapeprior.completion.scan_job import CompletionSettings, complete_scan, complete_view
from shapeprior.errors import ConfigError
from shapeprior.io.files import load_numpy
from shapeprior.io.meshes import load_mesh
from shapeprior.scans.folder import ViewFiles
from shapeprior.scans.observation import Observation
from shapeprior.scans.prepared_view import PreparedView
from shapeprior.scans.simulation import camera_around, render_depth

SETTINGS = CompletionSettings(resolution=48)


@pytest.fixture
def half_mug(tmp_path: Path) -> Path:
    """Points of one side of a mug, as a scan."""
    prior = load("mug")
    vertices = prior.extract(prior.codes[3], resolution=64).vertices
    np.save(tmp_path / "half.npy", vertices[vertices[:, 2] > 0.0])
    return tmp_path / "half.npy"


@pytest.mark.slow
def test_a_view_becomes_what_the_prior_itself_makes_of_it(half_mug: Path) -> None:
    view = Observation.from_points(load_numpy(half_mug))
    prior = load("mug")
    done = complete_view(view, prior, T_unit_world=None, settings=SETTINGS)
    expected = prior.complete(view, resolution=48)
    np.testing.assert_array_equal(done.completion.mesh.vertices, expected.mesh.vertices)
    np.testing.assert_array_equal(done.completion.code, expected.code)
    assert done.completion.verdict == expected.verdict
    assert done.completion.residual == expected.residual


@pytest.mark.slow
def test_with_any_prior_each_is_fitted_once_to_a_view_that_is_prepared_once(
    half_mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Any] = []
    infer = ShapePrior.infer

    def counted(prior: ShapePrior, view: Any, **given: Any) -> Any:
        fitted.append(view)
        return infer(prior, view, **given)

    monkeypatch.setattr(ShapePrior, "infer", counted)
    views = ViewFiles.each([half_mug])
    done = complete_scan(views, tmp_path / "mug.ply", pose=None, prior="auto", settings=SETTINGS)
    assert len(fitted) == len(done.view.ranking) == 5
    assert isinstance(fitted[0], PreparedView)
    assert all(view is fitted[0] for view in fitted)
    assert done.view.name == done.view.ranking[0].name
    assert done.view.completion.estimate is done.view.ranking[0].estimate


@pytest.mark.slow
def test_meshes_of_other_answers_do_not_outlive_the_answer(half_mug: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("mug.other1.ply", "mug.other12.ply", "mug.other.ply", "mug.other1.obj", "cup.other1.ply"):
        (out / name).write_bytes(b"of an earlier run")
    complete_scan(ViewFiles.each([half_mug]), out / "mug.ply", pose=None, prior="mug", settings=SETTINGS)
    kept = {"mug.ply", "mug.other.ply", "mug.other1.obj", "cup.other1.ply"}
    assert {path.name for path in out.iterdir()} == kept
    assert load_mesh(out / "mug.ply").is_watertight


@pytest.mark.slow
def test_other_answers_become_meshes_if_asked_for(tmp_path: Path) -> None:
    """A mug whose handle is hidden: it may be in more places than one."""
    prior = load("mug")
    mesh = prior.extract(prior.codes[40], resolution=64)
    camera, pose = camera_around(azimuth_deg=270.0, elevation_deg=15.0, resolution=96)
    seen = Observation.from_depth(render_depth(mesh, camera, pose), camera, T_world_camera=pose)
    np.savez(tmp_path / "back.npz", points=seen.points_world, sensor=pose.offset)
    views, out = ViewFiles.each([tmp_path / "back.npz"]), tmp_path / "mug.ply"
    settings = replace(SETTINGS, placement="upright")
    done = complete_scan(views, out, pose=None, prior="mug", settings=settings)
    assert done.alternative_paths == (None,) * len(done.view.completion.alternatives)
    done = complete_scan(views, out, pose=None, prior="mug", settings=replace(settings, alternatives=True))
    count = len(done.view.completion.alternatives)
    assert count >= 1
    assert done.alternative_paths == tuple(tmp_path / f"mug.other{number}.ply" for number in range(1, count + 1))
    assert all(load_mesh(path).is_watertight for path in done.alternative_paths if path is not None)


def test_no_file_that_is_read_is_overwritten_or_removed(half_mug: Path, tmp_path: Path) -> None:
    other = tmp_path / "mug.other1.ply"
    other.write_bytes(half_mug.read_bytes())
    link = tmp_path / "link.npy"
    link.symlink_to(half_mug)
    linked_other = tmp_path / "cup.other1.ply"
    linked_other.symlink_to(half_mug)
    (tmp_path / "folder").symlink_to(tmp_path)
    for read, out in (
        (half_mug, half_mug),
        (half_mug, tmp_path / "folder" / half_mug.name),
        (link, half_mug),
        (link, link),
        (other, tmp_path / "mug.ply"),
        (linked_other, tmp_path / "cup.ply"),
    ):
        with pytest.raises(ConfigError, match="is read, and would be overwritten"):
            complete_scan(ViewFiles.each([read]), out, pose=None, prior="mug", settings=SETTINGS)
        assert np.load(half_mug, allow_pickle=False).shape[1] == 3  # noqa: TID251
        assert read.is_file()
