"""Derivatives of fields by code and point against central differences, in double precision."""

import pytest
import torch
from helpers.ellipsoids import EllipsoidDecoder
from torch import Tensor

from shapeprior.models.decoder import Decoder, seeded
from shapeprior.models.deepsdf import DeepSdfConfig, DeepSdfDecoder
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder, grid_corners
from shapeprior.models.triplane_jacobian import push_forward

TRIPLANE = TriplaneConfig(code_size=6, base=4, channels=(4, 3), width=8, volume=5)
DEEP = TriplaneConfig(code_size=6, base=3, channels=(5, 4, 3), width=8, volume=5)


def decoders() -> dict[str, Decoder]:
    planes = [TriplaneDecoder(config, seed=1) for config in (TRIPLANE, DEEP)]
    with torch.no_grad():
        for plane in planes:
            # A fresh decoder's coarse field does not depend on the code, and its correction hardly; all biases are
            # zero.
            plane.coarse.weight.normal_(0.0, 0.2, generator=seeded(2))
            for parameter in plane.reader.parameters():
                parameter.mul_(3.0)
            for name, parameter in plane.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(3)))
    return {
        "triplane": planes[0],
        "triplane of three levels": planes[1],
        "deepsdf": DeepSdfDecoder(DeepSdfConfig(code_size=6, width=24), seed=1),
        "ellipsoid": EllipsoidDecoder(),
    }


@pytest.fixture(params=["triplane", "triplane of three levels", "deepsdf", "ellipsoid"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return decoders()[request.param].double()


def setting(decoder: Decoder) -> tuple[Tensor, Tensor, Tensor]:
    """Return a code, directions that are no unit vectors, and points inside the cube and beyond its sides."""
    generator = seeded(4)
    code = 0.5 * torch.randn(decoder.code_size, generator=generator).double()
    directions = torch.randn((decoder.code_size, decoder.code_size), generator=generator).double()
    return code, directions, 2.4 * torch.rand((300, 3), generator=generator).double() - 1.2


def test_derivatives_by_code_are_central_differences(decoder: Decoder) -> None:
    code, directions, points = setting(decoder)
    found = decoder.jacobian(code, decoder.code_tangents(code, directions), points)
    torch.testing.assert_close(found.value, decoder(code[None], points[None])[0].detach())
    for column, direction in enumerate(directions):
        with torch.no_grad():
            ahead, behind = (decoder((code + step * direction)[None], points[None])[0] for step in (1e-6, -1e-6))
        torch.testing.assert_close(found.by_code[:, column], (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6)


def test_gradients_are_central_differences(decoder: Decoder) -> None:
    code, directions, points = setting(decoder)
    points = points[points.abs().amax(dim=1) < 0.95]
    found = decoder.jacobian(code, decoder.code_tangents(code, directions), points)
    with torch.no_grad():
        for axis, step in enumerate(1e-6 * torch.eye(3, dtype=torch.float64)):
            ahead, behind = (decoder(code[None], (points + sign * step)[None])[0] for sign in (1, -1))
            difference = (ahead - behind) / 2e-6
            # Differences mean nothing where a cell's border or a kink lies between the two points.
            close = torch.isclose(found.by_point[:, axis], difference, rtol=1e-4, atol=1e-5)
            assert close.double().mean() > 0.97


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_points_are_what_they_are_among_many(decoder: Decoder, count: int) -> None:
    code, directions, points = setting(decoder)
    tangents = decoder.code_tangents(code, directions)
    whole, part = (decoder.jacobian(code, tangents, some) for some in (points, points[:count]))
    for name in ("value", "by_code", "by_point"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[:count])


def test_tangents_serve_nearby_codes_with_exact_values(decoder: Decoder) -> None:
    code, directions, points = setting(decoder)
    nearby = code + 1e-3 * directions[0]
    found = decoder.jacobian(nearby, decoder.code_tangents(code, directions), points)
    torch.testing.assert_close(found.value, decoder(nearby[None], points[None])[0].detach())
    exact = decoder.jacobian(nearby, decoder.code_tangents(nearby, directions), points)
    scale = exact.by_code.abs().mean()
    assert (found.by_code - exact.by_code).abs().mean() < 0.2 * scale


def test_what_is_prepared_already_is_not_made_again() -> None:
    decoder = decoders()["triplane"].double()
    code, directions, points = setting(decoder)
    tangents, other = decoder.code_tangents(code, directions), code + directions[0]
    with torch.no_grad():
        prepared, others = decoder.prepare(code[None]), decoder.prepare(other[None])
    found, again = (decoder.jacobian(code, tangents, points, prepared=each) for each in (None, prepared))
    for name in ("value", "by_code", "by_point"):
        assert torch.equal(getattr(found, name), getattr(again, name))
    # Prepared tensors are used as they are, even those of another code.
    believed = decoder.jacobian(code, tangents, points, prepared=others).value
    torch.testing.assert_close(believed, decoder(other[None], points[None])[0].detach())


def test_directions_in_bfloat16_change_derivatives_by_the_code_a_little_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = TriplaneDecoder(TriplaneConfig(code_size=6), seed=1)
    code, directions, points = (part.float() for part in setting(decoder))
    found = {}
    for kind in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("shapeprior.models.triplane_jacobian.matmul_dtype", lambda *_, kind=kind: kind)
        found[kind] = decoder.jacobian(code, decoder.code_tangents(code, directions), points)
    exact, rounded = found.values()
    assert torch.equal(exact.value, rounded.value)
    assert torch.equal(exact.by_point, rounded.by_point)
    away = torch.linalg.vector_norm(exact.by_code - rounded.by_code) / torch.linalg.vector_norm(exact.by_code)
    assert 0.0 < away < 0.02


def test_nothing_is_left_on_the_weights(decoder: Decoder) -> None:
    code, directions, points = setting(decoder)
    found = decoder.jacobian(code, decoder.code_tangents(code, directions), points)
    assert not any(part.requires_grad for part in (found.value, found.by_code, found.by_point))
    assert all(parameter.grad is None for parameter in decoder.parameters())


@pytest.mark.parametrize("side", [1, 2, 7])
@pytest.mark.parametrize("axes", [2, 3])
def test_grid_corners_are_those_of_grid_sample(axes: int, side: int) -> None:
    grid = torch.randn((side,) * axes, generator=seeded(0))
    points = 2.6 * torch.rand((500, axes), generator=seeded(1)) - 1.3
    rows, shares = grid_corners(points, side)
    truth = torch.nn.functional.grid_sample(
        grid[None, None],
        points.flip(-1).view(1, -1, *(1,) * (axes - 1), axes),
        padding_mode="border",
        align_corners=False,
    ).flatten()
    torch.testing.assert_close((grid.flatten()[rows] * shares).sum(dim=1), truth)


def test_a_layer_whose_derivative_is_not_known_is_refused() -> None:
    layers = [torch.nn.LeakyReLU()]
    with pytest.raises(TypeError, match="LeakyReLU"):
        push_forward(layers, torch.zeros(1, 3, 2, 2), torch.zeros(4, 3, 2, 2))
