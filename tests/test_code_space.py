"""Whitened coordinates of codes: statistics of the training codes, and the way back."""

import pytest
import torch
from torch import Tensor

from shapeprior.models.latent_space import FLOOR, CodeSpace


def codes_like_training(count: int, size: int = 6) -> Tensor:
    """Correlated, off-centre, of unequal spread."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.randn((size, size), generator=generator) * torch.logspace(0, -1, size)
    return torch.randn((count, size), generator=generator) @ mixing + torch.arange(size)


def test_whitened_training_codes_are_centred_with_unit_covariance() -> None:
    codes = codes_like_training(200)
    space = CodeSpace.fit(codes)
    whitened = space.whiten(codes).double()
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-4)
    covariance = whitened.T @ whitened / (len(codes) - 1)
    torch.testing.assert_close(covariance, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-3)


def test_length_is_the_distance_of_mahalanobis() -> None:
    codes = codes_like_training(200).double()
    space = CodeSpace.fit(codes.float())
    centred = codes - codes.mean(dim=0)
    inverse = torch.linalg.inv(centred.T @ centred / (len(codes) - 1))
    expected = torch.einsum("ni,ij,nj->n", centred, inverse, centred)
    found = space.whiten(codes.float()).double().square().sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 200])
def test_codes_and_whiten_are_inverse_whatever_the_number_of_shapes(count: int) -> None:
    codes = codes_like_training(count)
    space = CodeSpace.fit(codes)
    assert space.axes.shape == (6, 6)
    anywhere = torch.randn((9, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.whiten(space.codes(anywhere)), anywhere, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(space.codes(space.whiten(codes)), codes, rtol=1e-4, atol=1e-4)
    assert torch.equal(space.codes(torch.zeros(1, 6))[0], codes.mean(dim=0))


def test_with_fewer_shapes_than_dimensions_no_direction_is_closed() -> None:
    codes = codes_like_training(3)
    lengths = CodeSpace.fit(codes).axes.norm(dim=1)
    assert lengths.min() == pytest.approx(FLOOR * float(lengths.max()), rel=1e-4)
    spans = torch.linalg.svdvals((codes - codes.mean(dim=0)).double())[:2] / 2**0.5
    torch.testing.assert_close(lengths[:2].double(), spans, rtol=1e-4, atol=1e-5)


def test_identical_codes_and_a_single_one_still_have_directions() -> None:
    for codes in (torch.ones(5, 4), torch.ones(1, 4)):
        space = CodeSpace.fit(codes)
        assert torch.isfinite(space.whiten(codes)).all()
        assert (space.axes.norm(dim=1) > 0).all()
        torch.testing.assert_close(space.codes(torch.zeros(1, 4)), torch.ones(1, 4))


def test_many_shapes_need_no_matrix_of_all_pairs() -> None:
    """A full singular value decomposition of 60,000 shapes would ask for 29 GB."""
    space = CodeSpace.fit(codes_like_training(60_000, size=4))
    assert space.axes.shape == (4, 4)
