"""The mixture over codes: densities against SciPy's, known clusters, and seeded samples."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor

from shapeprior.completion.registry import load
from shapeprior.errors import ConfigError
from shapeprior.models.latent_density import CodeMixture
from shapeprior.models.latent_space import CodeSpace


def clusters(count: int, size: int = 5, centres: int = 3, *, seed: int = 0) -> Tensor:
    """Return codes in clusters far apart, with mixed axes."""
    rng = np.random.default_rng(seed)
    middle = 8.0 * np.eye(centres, size)
    points = middle[rng.integers(centres, size=count)] + rng.standard_normal((count, size)) * np.linspace(
        1.0, 0.3, size
    )
    mixing = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return torch.from_numpy(points @ mixing + 2.0).float()


def normal_density(codes: Tensor, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    normal: Any = multivariate_normal  # scipy's own annotations know no matrices.
    return normal(mean, covariance).logpdf(codes.double().numpy())


def scipys(mixture: CodeMixture, codes: Tensor) -> np.ndarray:
    """Return the same density by SciPy, from each component's mean and covariance in codes."""
    axes, mean = mixture.space.axes.double().numpy(), mixture.space.mean.double().numpy()
    parts = [
        np.log(weight) + normal_density(codes, mean + centre @ axes, axes.T @ np.diag(variance) @ axes)
        for weight, centre, variance in zip(mixture.weights, mixture.means, mixture.variances, strict=True)
    ]
    return np.asarray(logsumexp(np.array(parts), axis=0))


@pytest.mark.parametrize("count", [5, 40, 150])
def test_the_density_is_scipys(count: int) -> None:
    codes = clusters(count)
    mixture = CodeMixture.fit(codes)
    np.testing.assert_allclose(mixture.log_prob(codes), scipys(mixture, codes), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_the_density_of_a_bundled_prior_is_scipys() -> None:
    prior = load("bowl")
    found, expected = prior.mixture.log_prob(prior.codes[:20]), scipys(prior.mixture, prior.codes[:20])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_density_of_one_number_has_mass_one() -> None:
    mixture = CodeMixture.fit(clusters(60, size=1, centres=1))

    def density(value: float) -> float:
        return float(np.exp(mixture.log_prob(torch.tensor([[value]]))[0]))

    assert quad(density, -10.0, 20.0)[0] == pytest.approx(1.0, abs=1e-3)


def test_clusters_are_found_and_make_held_out_codes_likelier() -> None:
    train, held = clusters(150), clusters(300)[150:]
    mixture = CodeMixture.fit(train)
    assert len(mixture.weights) == 3
    np.testing.assert_allclose(mixture.weights, 1 / 3, atol=0.12)
    alone = normal_density(held, train.numpy().mean(axis=0), np.cov(train.numpy().T))
    assert mixture.log_prob(held).mean() > alone.mean() + 1.0


@pytest.mark.slow
def test_one_gaussian_stays_one_component() -> None:
    codes = torch.randn((200, 6), generator=torch.Generator().manual_seed(3))
    mixture = CodeMixture.fit(codes)
    assert len(mixture.weights) == 1
    expected = normal_density(codes, np.zeros(6), np.eye(6))
    assert np.abs(mixture.log_prob(codes) - expected).mean() < 0.5


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20])
def test_few_codes_have_a_density_and_samples_in_their_span(count: int) -> None:
    codes = torch.randn((count, 32), generator=torch.Generator().manual_seed(count))
    mixture = CodeMixture.fit(codes)
    assert np.isfinite(mixture.log_prob(codes)).all()
    drawn = mixture.sample(50, seed=0)
    assert torch.isfinite(drawn).all()
    if count > 1:
        # What the codes span holds nearly all of what is drawn.
        basis = torch.linalg.svd(codes - codes.mean(dim=0), full_matrices=False)[2][: count - 1]
        offset = drawn - codes.mean(dim=0)
        outside = offset - offset @ basis.T @ basis
        assert outside.norm() < 0.02 * offset.norm()


def test_samples_have_the_mean_and_covariance_of_the_mixture() -> None:
    mixture = CodeMixture.fit(clusters(150))
    drawn = mixture.sample(40_000, seed=1).double().numpy()
    middle = mixture.weights @ mixture.means
    second = np.einsum("k,ki,kj->ij", mixture.weights, mixture.means, mixture.means)
    covariance = second + np.diag(mixture.weights @ mixture.variances) - np.outer(middle, middle)
    axes, mean = mixture.space.axes.double().numpy(), mixture.space.mean.double().numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), mean + middle @ axes, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), axes.T @ covariance @ axes, atol=0.4)


def test_samples_are_seeded_and_temperature_draws_them_together() -> None:
    mixture = CodeMixture.fit(clusters(150))
    assert torch.equal(mixture.sample(7, seed=4), mixture.sample(7, seed=4))
    assert not torch.equal(mixture.sample(7, seed=4), mixture.sample(7, seed=5))
    centres = mixture.space.codes(torch.from_numpy(mixture.means).float())
    cold, half, warm = (mixture.sample(30, temperature=temperature, seed=2) for temperature in (0.0, 0.5, 1.0))
    assert (cold[:, None] - centres).norm(dim=2).min(dim=1).values.max() < 1e-4
    torch.testing.assert_close(half, 0.5 * (cold + warm), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "temperature"), [(0, 1.0), (3, -0.1), (3, float("nan")), (3, float("inf"))])
def test_samples_out_of_range_are_refused(count: int, temperature: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        CodeMixture.fit(clusters(30)).sample(count, temperature=temperature, seed=0)


@pytest.mark.slow
def test_the_fit_is_repeatable_and_knows_no_order_of_axes() -> None:
    codes = clusters(80)
    first, again = CodeMixture.fit(codes), CodeMixture.fit(codes)
    np.testing.assert_array_equal(first.means, again.means)
    # Codes in other units and turned have the same density, up to the change of volume.
    turned = CodeMixture.fit(3.0 * codes.flip(1))
    np.testing.assert_allclose(
        turned.log_prob(3.0 * codes.flip(1)) + 5 * np.log(3.0), first.log_prob(codes), rtol=1e-2, atol=0.05
    )
    assert isinstance(first.space, CodeSpace)
