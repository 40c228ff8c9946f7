import numpy as np
import pytest
import torch

from shapeprior.models.decoder import seeded
from shapeprior.models.latent_space import NEIGHBOURS, SHARES, codes_between


def test_each_lies_between_a_code_and_one_of_its_neighbours() -> None:
    whitened = torch.randn(60, 5, generator=seeded(0)).double()
    found = codes_between(whitened, 40, np.random.default_rng(0))
    assert found.shape == (40, 5)
    away = torch.cdist(whitened, whitened)
    ranks = away.argsort(dim=1).argsort(dim=1)  # 0 is the code itself.
    for code in found:
        # On a straight line between two points, the distances to its ends add up.
        both = (whitened - code).norm(dim=1)
        excess = both[:, None] + both[None] - away + torch.eye(60) * 9.0
        first, last = divmod(int(excess.argmin()), 60)
        assert excess[first, last] < 1e-9
        assert min(int(ranks[first, last]), int(ranks[last, first])) <= NEIGHBOURS
        share = float(both[first] / away[first, last])
        assert SHARES[0] - 1e-9 <= share <= SHARES[1] + 1e-9


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_codes_there_is_nothing_between(count: int) -> None:
    assert codes_between(torch.zeros(count, 3), 7, np.random.default_rng(0)).shape == (0, 3)


def test_two_equal_codes_have_themselves_between() -> None:
    assert torch.equal(codes_between(torch.ones(2, 3), 4, np.random.default_rng(0)), torch.ones(4, 3))
