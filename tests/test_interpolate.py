"""Codes between codes: ends, even steps, lengths."""

import numpy as np
import pytest
import torch

from shapeprior.completion.registry import load
from shapeprior.errors import ConfigError
from shapeprior.models.latent_space import CodePath, CodeSpace, interpolate_codes

GENERATOR = torch.Generator().manual_seed(0)
CODES = torch.randn((40, 6), generator=GENERATOR) * torch.logspace(0, -1, 6) + 3.0
SPACE = CodeSpace.fit(CODES)
PATHS: list[CodePath] = ["straight", "spherical"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_the_ends_are_the_codes_that_were_given(path: CodePath, steps: int) -> None:
    between = interpolate_codes(SPACE, CODES[0], CODES[1], steps=steps, path=path)
    assert between.shape == (steps, 6)
    assert torch.equal(between[0], CODES[0])
    assert torch.equal(between[-1], CODES[1])


@pytest.mark.parametrize("path", PATHS)
def test_steps_are_even_in_whitened_coordinates_and_reverse(path: CodePath) -> None:
    first, last = CODES[0], CODES[1]
    between = interpolate_codes(SPACE, first, last, steps=6, path=path)
    torch.testing.assert_close(interpolate_codes(SPACE, last, first, steps=6, path=path).flip(0), between)
    whitened = SPACE.whiten(between)
    if path == "straight":
        gaps = whitened.diff(dim=0).norm(dim=1)
        torch.testing.assert_close(gaps, gaps[0].expand(5), rtol=1e-3, atol=1e-4)
    else:
        angles = torch.nn.functional.cosine_similarity(whitened[:-1], whitened[1:]).acos()
        torch.testing.assert_close(angles, angles[0].expand(5), rtol=1e-3, atol=1e-3)


def test_the_straight_middle_is_the_mean_and_the_spherical_one_keeps_the_length() -> None:
    pair = CODES[:2]
    straight = interpolate_codes(SPACE, pair[0], pair[1], steps=3)[1]
    torch.testing.assert_close(straight, pair.mean(dim=0))
    spherical = interpolate_codes(SPACE, pair[0], pair[1], steps=3, path="spherical")[1]
    ends, middle = SPACE.whiten(pair).norm(dim=1), SPACE.whiten(spherical[None]).norm()
    assert float(middle) == pytest.approx(float(ends.mean()), rel=1e-3)
    assert float(SPACE.whiten(straight[None]).norm()) < float(middle)


def test_codes_on_one_line_with_the_mean_take_the_straight_way() -> None:
    offset = CODES[0] - SPACE.mean
    for last in (SPACE.mean, SPACE.mean - offset, SPACE.mean + 2 * offset, CODES[0]):
        spherical = interpolate_codes(SPACE, CODES[0], last, steps=5, path="spherical")
        straight = interpolate_codes(SPACE, CODES[0], last, steps=5)
        torch.testing.assert_close(spherical, straight, rtol=1e-3, atol=1e-3)


def test_fewer_than_two_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps"):
        interpolate_codes(SPACE, CODES[0], CODES[1], steps=1)


def test_the_ends_of_a_bundled_prior_are_the_meshes_of_the_codes() -> None:
    prior = load("can")
    between = prior.interpolate(prior.codes[0], prior.codes[1], steps=3)
    for code, own in ((between[0], prior.codes[0]), (between[-1], prior.codes[1])):
        mesh, expected = prior.extract(code, resolution=32), prior.extract(own, resolution=32)
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(mesh.faces, expected.faces)
    middle = prior.extract(between[1], resolution=32)
    assert middle.is_watertight
