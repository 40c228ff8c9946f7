"""Densities over a prior's training codes: the package's mixture against scikit-learn's, by held-out likelihood.

    OMP_NUM_THREADS=1 python -m benchmarks.models.latent_densities --priors mug can

It needs scikit-learn, which the package does not depend on. Codes are split into folds; each density is fitted to all
folds but one and asked about that one:

  one Gaussian             the Gaussian of `CodeSpace`, as wide as the training codes in each direction;
  CodeMixture              the package's: up to 8 diagonal components in the 8 widest directions, chosen by
                           cross-validation;
  scikit-learn, diagonal   `GaussianMixture` in the same directions, 1 to 8 components chosen by BIC; the rest as in
                           `CodeMixture`;
  scikit-learn, full       the same with full covariances;
  scikit-learn, all        diagonal components in all directions.

Columns: mean log-likelihood of a held-out code in nats, the difference to one Gaussian with its standard error over the
codes, the numbers of components over the folds, and the CPU seconds of a fit.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from benchmarks.common.tables import print_machine, print_table
from shapeprior.completion.registry import bundled_priors, load
from shapeprior.models.latent_density import MAX_COMPONENTS, MIN_VARIANCE, MIXTURE_DIMENSIONS, CodeMixture
from shapeprior.models.latent_space import CodeSpace

LogProb = Callable[[Tensor], np.ndarray]


@dataclass(frozen=True)
class FittedDensity:
    """A density over codes."""

    log_prob: LogProb
    components: int


def one_gaussian(codes: Tensor) -> FittedDensity:
    """Fit one Gaussian with the widths of the training codes."""
    return with_rest(codes, GaussianMixture(1, covariance_type="diag"), MIXTURE_DIMENSIONS)


def code_mixture(codes: Tensor) -> FittedDensity:
    """Fit the package's mixture."""
    mixture = CodeMixture.fit(codes)
    return FittedDensity(mixture.log_prob, len(mixture.weights))


def scikit_mixture(covariance: str, dimensions: int | None) -> Callable[[Tensor], FittedDensity]:
    """Return a function that fits scikit-learn's mixture in the widest directions, with the number of components of the
    best BIC."""

    def fit(codes: Tensor) -> FittedDensity:
        leading = whitened(CodeSpace.fit(codes), codes)[:, :dimensions]
        candidates = [
            GaussianMixture(count, covariance_type=covariance, n_init=3, random_state=0, reg_covar=MIN_VARIANCE)
            for count in range(1, MAX_COMPONENTS + 1)
        ]
        best = min(candidates, key=lambda mixture: mixture.fit(leading).bic(leading))
        return with_rest(codes, best, dimensions)

    return fit


def with_rest(codes: Tensor, mixture: GaussianMixture, dimensions: int | None) -> FittedDensity:
    """Fit a mixture in the widest directions and one Gaussian in the others, as `CodeMixture` does."""
    space = CodeSpace.fit(codes)
    points = whitened(space, codes)
    count = points.shape[1] if dimensions is None else dimensions
    mixture.fit(points[:, :count])
    variance = np.maximum(points[:, count:].var(axis=0), MIN_VARIANCE)
    log_volume = float(space.axes.double().norm(dim=1).log().sum())

    def log_prob(asked: Tensor) -> np.ndarray:
        at = whitened(space, asked)
        rest = -0.5 * (at[:, count:] ** 2 / variance + np.log(2.0 * np.pi * variance)).sum(axis=1)
        return mixture.score_samples(at[:, :count]) + rest - log_volume

    return FittedDensity(log_prob, mixture.n_components)


def whitened(space: CodeSpace, codes: Tensor) -> np.ndarray:
    return space.whiten(codes).double().numpy()


DENSITIES: dict[str, Callable[[Tensor], FittedDensity]] = {
    "one Gaussian": one_gaussian,
    "CodeMixture": code_mixture,
    "scikit-learn, diagonal": scikit_mixture("diag", MIXTURE_DIMENSIONS),
    "scikit-learn, full": scikit_mixture("full", MIXTURE_DIMENSIONS),
    "scikit-learn, all": scikit_mixture("diag", None),
}


def measured(codes: Tensor, folds: int) -> list[list[str]]:
    """Return the rows of one prior's table."""
    parts = np.array_split(np.random.default_rng(0).permutation(len(codes)), folds)
    rows, reference = [], np.zeros(0)
    for name, fit in DENSITIES.items():
        held_out, seconds, components = np.zeros(len(codes)), [], []
        for part in parts:
            training = codes[torch.from_numpy(np.setdiff1d(np.arange(len(codes)), part))]
            started = time.process_time()
            density = fit(training)
            seconds.append(time.process_time() - started)
            components.append(density.components)
            held_out[part] = density.log_prob(codes[torch.from_numpy(part)])
        reference = held_out if name == "one Gaussian" else reference
        gain = held_out - reference
        error = gain.std() / len(gain) ** 0.5
        counts = ", ".join(map(str, components))
        cells = [f"{held_out.mean():.2f}", f"{gain.mean():+.2f} ± {error:.2f}", counts, f"{np.mean(seconds):.2f}"]
        rows.append([name, *cells])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", nargs="+", default=None, help="run folders or bundled priors; all bundled ones")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    print_machine()
    header = ["density", "held out, nats", "gain", "components", "fit, s"]
    for name in arguments.priors or bundled_priors():
        codes = load(name, with_encoder=False).codes.float().cpu()
        print_table(f"{name}, {len(codes)} codes", header, measured(codes, arguments.folds))


if __name__ == "__main__":
    main()
