"""The commands that measure a prior: an evaluation, and the tables of the work that is reproduced."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from shapeprior.cli.arguments import Cluster, Memory, PriorName, Resolution, Seed, UnseenSeed, Workers
from shapeprior.cli.console import print_line


def evaluate(
    run: Positional[PriorName],
    *,
    data: str,
    out: Path,
    tasks: tuple[Literal["codes", "full", "view"], ...] = ("codes", "full", "view"),
    split: Literal["train", "test"] = "test",
    views: tuple[int, ...] = (1,),
    sensors: tuple[Literal["clean", "good", "consumer", "poor"], ...] = ("clean",),
    placement: Literal["known", "aligned", "upright", "free"] = "known",
    baselines: tuple[Literal["mean", "nearest", "pca", "poisson", "upper", "none"], ...] = (),
    against: tuple[str, ...] = (),
    max_shapes: int | None = None,
    resolution: Resolution = 128,
    meshes: bool = True,
    pictures: bool = True,
    workers: Workers = None,
    cluster: Cluster = None,
    timeout: float = 600.0,
    memory: Memory = 8.0,
    seed: Seed = 0,
) -> None:
    """Score a prior on training shapes, on unseen shapes and on partial views, beside baselines.

    Failures are scored worst and included. Run the same command again to do what is missing.

    Args:
        data: Folder that `prepare` wrote, or a URL.
        out: Folder for the report: metrics.json, metrics.csv, report.md, a page to look at, meshes and pictures.
        tasks: What to score. codes: training shapes, by their own codes. full: unseen shapes, by codes fitted to all of
            their samples. view: unseen shapes, completed from partial views.
        split: The shapes that full and view take.
        views: Number of views that are completed together. Each number is a condition of its own.
        sensors: Noise of the depth camera. Each is a condition, with each number of views.
        placement: What the prior is told of the object's pose: all of it (known), or it must find position and scale
            (aligned), the turn about +y as well (upright), or any rotation (free).
        baselines: Baselines to score, or none; by default all that can run here.
        against: Other run folders or bundled priors to score in the same way.
        max_shapes: Most shapes for each task, spread evenly; all by default.
        meshes: Write the meshes.
        pictures: Write a picture of each completion.
        timeout: Seconds that one row may take.
    """
    from shapeprior.cli.progress import show_progress
    from shapeprior.cli.reports import print_summary
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.evaluation.config import EvaluateConfig, parse_baselines
    from shapeprior.evaluation.evaluate import evaluate_prior
    from shapeprior.evaluation.report.page import write_report
    from shapeprior.parallel.worker import WorkerLimits

    config = EvaluateConfig(
        tasks=tasks,
        split=split,
        views=views,
        sensors=sensors,
        placement=placement,
        baselines=parse_baselines(baselines),
        max_shapes=max_shapes,
        resolution=resolution,
        meshes=meshes,
        pictures=pictures,
    )
    with show_progress("Evaluating", "rows") as progress:
        document = evaluate_prior(
            run, Dataset.open(data), out, config=config, seed=seed, against=against, workers=workers, cluster=cluster,
            limits=WorkerLimits(timeout=timeout, memory=memory), progress=progress.update,
        )  # fmt: skip
    print_summary(document)
    print_line(f"report {write_report(out)}, {out / 'report.md'}, figures {out / 'metrics.json'}")


def original(*, out: Path, count: int = 3, seed: UnseenSeed = 1) -> None:
    """Reproduce the tables and the figure of the original work with the bundled priors, beside its published figures.

    Args:
        out: Folder for original.html, original.md, original.png and original.json.
        count: Unseen shapes of each of the five categories.
    """
    from shapeprior.cli.progress import show_progress
    from shapeprior.evaluation.reproduction.measure import ReproductionConfig
    from shapeprior.evaluation.reproduction.tables import write_reproduction_tables

    config = ReproductionConfig(count=count, seed=seed)
    with show_progress("Measuring", "shapes", total=count * len(config.categories)) as progress:
        page = write_reproduction_tables(out, config=config, progress=progress.advance)
    print_line(f"page     {page}")
    print_line(f"figure   {out / 'original.png'}")
