"""The tri-plane decoder against a bilinear lookup by hand, finite differences, and the sphere it starts from."""

import pytest
import torch
from torch import Tensor

from shapeprior.errors import ConfigError
from shapeprior.models.presets import build_decoder, preset
from shapeprior.models.triplane import TriplaneConfig, TriplaneDecoder

SMALL = TriplaneConfig(code_size=5, base=3, channels=(6, 4), width=8, volume=4)


def inputs(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randn((2, 5), generator=generator, dtype=torch.float64)
    points = scale * (torch.rand((2, 60, 3), generator=generator, dtype=torch.float64) * 2.0 - 1.0)
    return codes, points


def read_plane(plane: Tensor, across: float, down: float) -> Tensor:
    """Bilinear: cell centres are at (i + ½) / side of the way from −1 to 1; beyond the outer centres the border
    holds."""
    side = plane.shape[-1]
    column, row = (min(max((value + 1.0) / 2.0 * side - 0.5, 0.0), side - 1.0) for value in (across, down))
    left, top = min(int(column), side - 2), min(int(row), side - 2)
    s, t = column - left, row - top
    upper = (1 - s) * plane[:, top, left] + s * plane[:, top, left + 1]
    lower = (1 - s) * plane[:, top + 1, left] + s * plane[:, top + 1, left + 1]
    return (1 - t) * upper + t * lower


def read_volume(volume: Tensor, point: Tensor) -> Tensor:
    """Trilinear, axis by axis; cell centres as in `read_plane`."""
    for coordinate in point.tolist():
        side = volume.shape[0]
        place = min(max((coordinate + 1.0) / 2.0 * side - 0.5, 0.0), side - 1.0)
        low = min(int(place), side - 2)
        volume = (1.0 - (place - low)) * volume[low] + (place - low) * volume[low + 1]
    return volume


def plain_query(decoder: TriplaneDecoder, planes: Tensor, volume: Tensor, point: Tensor) -> Tensor:
    """Signed distance at one point from one shape's planes of shape (3, channels, side, side) and its coarse field (x,
    y, z)."""
    x, y, z = point.tolist()
    features = [read_plane(planes[index], *pair) for index, pair in enumerate(((x, y), (y, z), (z, x)))]
    state = decoder.state_dict()
    carried = torch.cat([*features, point])
    for layer in ("0", "2", "4"):
        carried = state[f"reader.{layer}.weight"] @ carried + state[f"reader.{layer}.bias"]
        if layer != "4":
            carried = carried / (1.0 + (-carried).exp())  # SiLU
    return read_volume(volume, point) + max(float(point.norm()) - 1.0, 0.0) + carried[0]


def started(seed: int = 0) -> TriplaneDecoder:
    """Return a decoder whose coarse field depends on the code."""
    decoder = TriplaneDecoder(SMALL, seed=seed).double()
    generator = torch.Generator().manual_seed(7)
    decoder.set_coarse_field(torch.randn(64, generator=generator), torch.randn((5, 64), generator=generator))
    return decoder


@pytest.mark.parametrize("scale", [1.0, 1.4])  # Inside the cube, and beyond it.
def test_query_equals_a_bilinear_lookup_by_hand(scale: float) -> None:
    decoder = started()
    codes, points = inputs(scale)
    planes, volume = decoder.prepare(codes)
    assert planes.shape == (2, 3, 4, 6, 6)
    assert volume.shape == (2, 1, 4, 4, 4)
    found = decoder.query((planes, volume), points)
    expected = torch.stack(
        [
            torch.stack([plain_query(decoder, planes[shape], volume[shape, 0], point) for point in points[shape]])
            for shape in range(2)
        ]
    )
    without = torch.stack([torch.stack([read_volume(volume[i, 0], point) for point in points[i]]) for i in range(2)])
    assert (expected - without).std() > 1e-3  # The planes contribute.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_planes_are_what_the_generator_makes_of_the_code() -> None:
    """The truth is each convolution by its definition, as sums over cells."""
    decoder = TriplaneDecoder(SMALL, seed=0).double()
    codes, _ = inputs()
    state = decoder.state_dict()
    seeds = (codes @ state["seed_planes.weight"].T + state["seed_planes.bias"]).view(2, 18, 3, 3)

    def bent(values: Tensor) -> Tensor:
        return values / (1.0 + torch.exp(-values))

    mixed = torch.einsum("oi,sihw->sohw", state["generator.1.weight"][:, :, 0, 0], bent(seeds))
    mixed = bent(mixed + state["generator.1.bias"][:, None, None])
    weight, bias = state["generator.3.weight"], state["generator.3.bias"]
    grown = torch.zeros(2, 12, 8, 8, dtype=torch.float64)
    for plane in range(3):  # Groups: each plane's features come from its own.
        inside, outside = slice(6 * plane, 6 * plane + 6), slice(4 * plane, 4 * plane + 4)
        for row in range(3):
            for column in range(3):
                # Each cell adds its kernel, two cells from the next one's.
                painted = torch.einsum("si,iohw->sohw", mixed[:, inside, row, column], weight[inside])
                grown[:, outside, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += painted
    # The binomial filter adds a cell all around; then two cells around are cut off.
    binomial = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    filtered = torch.zeros(2, 12, 10, 10, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            filtered[:, :, row : row + 8, column : column + 8] += binomial[row] * binomial[column] * grown
    expected = filtered[:, :, 2:8, 2:8] + bias[:, None, None]
    torch.testing.assert_close(decoder.prepare(codes)[0].flatten(1, 2), expected, rtol=0, atol=1e-12)


def test_gradients_of_code_and_points_agree_with_finite_differences() -> None:
    decoder = started()
    codes, points = inputs()
    codes, points = codes.requires_grad_(), points[:, :6].clone().requires_grad_()
    assert torch.autograd.gradcheck(decoder, (codes, points), eps=1e-7, atol=1e-5)


def test_preparing_once_and_querying_in_parts_equals_forward() -> None:
    decoder = TriplaneDecoder(SMALL, seed=0).double()
    codes, points = inputs()
    prepared = decoder.prepare(codes)
    parts = torch.cat([decoder.query(prepared, part) for part in points.split(7, dim=1)], dim=1)
    torch.testing.assert_close(parts, decoder(codes, points), rtol=0, atol=1e-14)


def test_it_starts_as_a_sphere_of_radius_one_half_with_a_gradient() -> None:
    decoder = build_decoder(preset("triplane-64").decoder, seed=0)
    generator = torch.Generator().manual_seed(0)
    codes = 0.1 * torch.randn((4, 64), generator=generator)
    points = torch.randn((4, 400, 3), generator=generator)
    points = (
        points / points.norm(dim=-1, keepdim=True) * (0.2 + 0.7 * torch.rand((4, 400, 1), generator=generator))
    ).requires_grad_()
    field = decoder(codes, points)
    assert (field - (points.norm(dim=-1) - 0.5)).abs().max() < 0.1
    (gradient,) = torch.autograd.grad(field.sum(), points)
    assert gradient.norm(dim=-1).median() == pytest.approx(1.0, abs=0.1)


def test_beyond_the_unit_sphere_the_field_rises_as_the_distance_to_it() -> None:
    decoder = build_decoder(preset("triplane-64").decoder, seed=0)
    codes = 0.1 * torch.randn((1, 64), generator=torch.Generator().manual_seed(0))
    direction = torch.tensor([0.48, 0.6, 0.64])
    near, far = decoder(codes, torch.stack([2.0 * direction, 7.0 * direction])[None])[0]
    assert float((far - near).detach()) == pytest.approx(5.0, abs=1.0)  # The correction goes on linearly.


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code_size": 0}, "below 1"),
        ({"channels": (4, 0)}, "below 1"),
        ({"base": 0}, "below 1"),
        ({"width": 0}, "below 1"),
        ({"volume": 0}, "below 1"),
        ({"channels": ()}, "two levels"),
        ({"channels": (4,)}, "two levels"),
    ],
)
def test_impossible_sizes_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TriplaneConfig(**fields)  # pyright: ignore[reportArgumentType]
