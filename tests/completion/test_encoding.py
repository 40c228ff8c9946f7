"""Codes of meshes: frames and refusals on an analytic decoder, the shape itself on bundled priors.

Codes from samples of the whole field: on a decoder whose codes are known, and on a bundled prior.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.ellipsoids import EllipsoidDecoder, axes_of, ellipsoid_prior, off_ellipsoid, training_codes
from helpers.plain_geometry import random_similarity
from torch import Tensor

from shapeprior.completion.encoding import EncodeConfig, EncodedMesh, encode_samples, encoding_preparation
from shapeprior.completion.registry import load
from shapeprior.errors import CompletionError, ConfigError, MeshError, OutputError
from shapeprior.evaluation.point_metrics import intersection_over_union
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import load_numpy
from shapeprior.io.meshes import save_mesh
from shapeprior.models.latent_space import CodeSpace
from shapeprior.sdf.signed_distance import SHEET_HALF_THICKNESS, SignedDistance

CODE = np.array([0.4, -0.9])
FAST = EncodeConfig(steps=60, points=500)


def ellipsoid(code: np.ndarray = CODE) -> TriangleMesh:
    ball = trimesh.creation.icosphere(subdivisions=4)
    return TriangleMesh(
        vertices=np.asarray(ball.vertices) * axes_of(code), faces=np.asarray(ball.faces, dtype=np.int64)
    )


@pytest.mark.parametrize("scale", [1.0, 250.0])
def test_the_code_of_an_ellipsoid_decodes_to_it_in_its_own_frame(scale: float) -> None:
    mesh = ellipsoid()
    T_world_unit = Similarity(scale=scale, rotation=np.eye(3), offset=scale * np.array([3.0, -1.0, 0.5]))
    moved = TriangleMesh(vertices=T_world_unit.apply(mesh.vertices), faces=mesh.faces)
    encoded = ellipsoid_prior().encode(moved, config=FAST)
    # The longest half axis touches the sphere of radius 1/1.03, whatever it was.
    found = encoded.T_unit_world.apply(moved.vertices)
    assert np.linalg.norm(found, axis=1).max() == pytest.approx(1 / 1.03)
    decoded = ellipsoid_prior().extract(encoded.code, resolution=64)
    back = encoded.T_unit_world.inverse().apply(decoded.vertices)
    in_unit = TriangleMesh(vertices=T_world_unit.inverse().apply(back), faces=decoded.faces)
    # The stand-in's long axis is fixed, so a shape that normalisation resizes is met up to the difference.
    assert off_ellipsoid(in_unit, CODE).max() < 0.06
    assert encoded.error < 0.02


def test_z_up_is_turned(tmp_path: Path) -> None:
    mesh = ellipsoid()
    standing = mesh.vertices[:, [0, 2, 1]] * [1.0, -1.0, 1.0]  # (x, y, z) → (x, −z, y): +y becomes +z.
    path = save_mesh(tmp_path / "z_up.ply", TriangleMesh(vertices=standing, faces=mesh.faces))
    prior = ellipsoid_prior()
    turned, upright = prior.encode(path, up="z", config=FAST), prior.encode(mesh, config=FAST)
    np.testing.assert_allclose(turned.code, upright.code, atol=0.03)
    assert np.abs(prior.encode(path, config=FAST).code - upright.code).max() > 0.3


def test_the_same_seed_is_the_same_code() -> None:
    few = EncodeConfig(steps=5, points=100)
    first, again, other = (ellipsoid_prior().encode(ellipsoid(), seed=seed, config=few).code for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["can", "bowl"])
def test_the_mesh_of_a_training_code_is_encoded_to_the_same_shape(family: str) -> None:
    prior = load(family)
    mesh = prior.extract(prior.codes[3], resolution=64)
    encoded = prior.encode(mesh, config=EncodeConfig(steps=80, points=500))
    decoded = prior.extract(encoded.code, resolution=64)
    T_world_unit = encoded.T_unit_world.inverse()
    back = TriangleMesh(vertices=T_world_unit.apply(decoded.vertices), faces=decoded.faces)
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (20_000, 3))
    iou = intersection_over_union(SignedDistance(back).inside(points), SignedDistance(mesh).inside(points))
    assert iou > 0.9
    nearest = prior.nearest(encoded.code, count=2)
    assert nearest[0].id == prior.config.shape_ids[3]


def test_what_preparation_refuses_is_refused_with_the_reason(tmp_path: Path) -> None:
    prior = ellipsoid_prior()
    (tmp_path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 "
        "0 0\n"
    )
    with pytest.raises(MeshError, match=r"points\.ply"):
        prior.encode(tmp_path / "points.ply")
    with pytest.raises(MeshError, match="missing"):
        prior.encode(tmp_path / "missing.obj")
    triangle = TriangleMesh(vertices=np.eye(3), faces=np.array([[0, 1, 2]]))
    with pytest.raises(MeshError, match="expected at least 4"):
        prior.encode(triangle)


@pytest.mark.parametrize(
    ("least", "reason"),
    [
        ({"min_confidence": 1.0}, "sign tests agree"),
        ({"min_confidence": 0.0, "min_inside_share": 1.0}, "of the samples near the surface are inside"),
    ],
)
def test_what_the_data_set_would_not_accept_is_refused(least: dict[str, float], reason: str) -> None:
    prior = ellipsoid_prior()
    strict = replace(prior, config=replace(prior.config, dataset={"settings": {"prepare": least}}))
    mesh = ellipsoid()
    # One face in eight is missing, so that some tests of the sign disagree.
    holed = TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[np.arange(len(mesh.faces)) % 8 != 0])
    with pytest.raises(MeshError, match=reason):
        strict.encode(holed)


def test_saved_codes_hold_three_arrays_and_need_no_pickle(tmp_path: Path) -> None:
    placed = random_similarity(np.random.default_rng(0), scale=2.0)
    encoded = EncodedMesh(code=np.arange(3.0), T_unit_world=placed, error=0.25, mesh_unit=ellipsoid())
    path = encoded.save(tmp_path / "new" / "code.npz")
    with load_numpy(path) as found:
        assert sorted(found.files) == ["T_unit_world", "code", "error"]
        np.testing.assert_array_equal(found["code"], [0.0, 1.0, 2.0])
        np.testing.assert_array_equal(found["T_unit_world"], placed.matrix())
        assert found["error"] == 0.25
    first = path.read_bytes()
    assert encoded.save(path).read_bytes() == first
    with pytest.raises(OutputError, match=r"\.npz"):
        encoded.save(tmp_path / "code.json")


@pytest.mark.parametrize(
    "dataset",
    [{}, {"settings": None}, {"settings": {"prepare": []}}, {"settings": {"prepare": {"min_confidence": "x"}}}],
)
def test_settings_that_say_nothing_are_preparations_own(dataset: dict[str, object]) -> None:
    assert encoding_preparation(dataset).sheet_half_thickness == SHEET_HALF_THICKNESS


def test_settings_of_the_data_set_are_used_and_wrong_ones_are_not() -> None:
    said = {"settings": {"prepare": {"sheet_half_thickness": 0.03, "min_confidence": 0}}}
    assert encoding_preparation(said).sheet_half_thickness == 0.03
    assert encoding_preparation(said).min_confidence == 0.0
    wrong = {"settings": {"prepare": {"sheet_half_thickness": 7.0}}}
    assert encoding_preparation(wrong).sheet_half_thickness == SHEET_HALF_THICKNESS
    assert encoding_preparation({}, samples=500).sampling.count == 500


CODES = torch.tensor([[0.4, -0.9], [-1.2, 1.3], [0.0, 0.0], [1.5, 0.7]])
FEW_SAMPLES = EncodeConfig(steps=100, points=256)


def samples_of(codes: Tensor, count: int = 1500) -> tuple[Tensor, Tensor]:
    """Points of the cube with each code's field, which is the truth."""
    points = torch.rand((len(codes), count, 3), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        return points, EllipsoidDecoder()(codes, points)


def encode(points: Tensor, sdf: Tensor, *, config: EncodeConfig = FEW_SAMPLES, seed: int = 0) -> Tensor:
    space = CodeSpace.fit(training_codes())
    return encode_samples(EllipsoidDecoder(), space, points, sdf, clamp=0.1, config=config, seed=seed)


def test_the_codes_of_known_fields_are_found() -> None:
    torch.testing.assert_close(encode(*samples_of(CODES)), CODES, rtol=0, atol=5e-3)


@pytest.mark.slow
def test_a_shape_does_not_depend_on_the_others() -> None:
    points, sdf = samples_of(CODES)
    together = encode(points, sdf)
    for row in range(len(CODES)):
        torch.testing.assert_close(encode(points[row : row + 1], sdf[row : row + 1])[0], together[row])
    turned = encode(points.flip(0), sdf.flip(0)).flip(0)
    torch.testing.assert_close(turned, together)
    in_parts = encode(points, sdf, config=EncodeConfig(steps=100, points=256, shapes=3))
    torch.testing.assert_close(in_parts, together)


def test_seeds_decide_which_samples_are_drawn() -> None:
    few = EncodeConfig(steps=5, points=16)
    points, sdf = samples_of(CODES)
    first, again, other = (encode(points, sdf, config=few, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fewer_samples_than_a_step_wants_are_all_used() -> None:
    points, sdf = samples_of(CODES, count=200)
    first, other = (encode(points, sdf, seed=seed) for seed in (3, 4))
    assert torch.equal(first, other)
    torch.testing.assert_close(first, CODES, rtol=0, atol=5e-3)


def test_a_strong_prior_pulls_to_the_mean() -> None:
    pulled = encode(*samples_of(CODES), config=EncodeConfig(steps=100, points=256, prior_weight=10.0))
    assert pulled.norm(dim=1).max() < 0.2  # The mean of the training codes is 0.


def test_the_decoder_is_left_as_it_was() -> None:
    decoder, (points, sdf) = EllipsoidDecoder(), samples_of(CODES)
    decoder.requires_grad_(True).train()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    encode_samples(decoder, CodeSpace.fit(training_codes()), points, sdf, clamp=0.1, config=FEW_SAMPLES, seed=0)
    assert decoder.training
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in decoder.parameters())


def test_no_shapes_are_no_codes_and_no_samples_are_refused() -> None:
    assert encode(torch.zeros(0, 10, 3), torch.zeros(0, 10)).shape == (0, 2)
    with pytest.raises(ValueError, match="no samples"):
        encode(torch.zeros(2, 0, 3), torch.zeros(2, 0))


def test_numbers_that_are_not_finite_are_a_completion_error() -> None:
    points, sdf = samples_of(CODES)
    sdf[1] = torch.nan
    with pytest.raises(CompletionError, match="samples hold NaN"):
        encode(points, sdf)


def test_a_broken_decoder_is_a_completion_error() -> None:
    decoder, (points, sdf) = EllipsoidDecoder(), samples_of(CODES)
    decoder.get_parameter("middle").data.fill_(torch.nan)
    with pytest.raises(CompletionError, match="weights that were trained"):
        encode_samples(decoder, CodeSpace.fit(training_codes()), points, sdf, clamp=0.1, config=FEW_SAMPLES, seed=0)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"shapes": 0}, {"points": 0}, {"rate": 0.0}, {"prior_weight": -1.0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        EncodeConfig(**setting)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_fields_of_training_codes_of_a_bundled_prior_lead_back() -> None:
    """To the same field, not to the same code: several codes may have it."""
    prior = load("mug")
    codes, space = prior.codes[:3], CodeSpace.fit(prior.codes)
    points = torch.rand((3, 1000, 3), generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    with torch.no_grad():
        sdf = prior.decoder(codes, points)
    config = EncodeConfig(steps=60, points=500)
    found = encode_samples(prior.decoder, space, points, sdf, clamp=0.1, config=config, seed=0)
    with torch.no_grad():
        error = (prior.decoder(found, points) - sdf).abs().clamp(max=0.1).mean(dim=1)
        start = (prior.decoder(space.mean.expand(3, -1), points) - sdf).abs().clamp(max=0.1).mean(dim=1)
    assert (error < 0.25 * start).all()
    assert error.max() < 0.01
