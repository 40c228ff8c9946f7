"""The command that scores a prior. As in `shapeprior.cli.main`, nothing heavy is imported until it runs."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from shapeprior.cli.arguments import UNSEEN_SEED, Seed
from shapeprior.cli.console import print_line


def evaluate(
    run: Positional[str],
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
    resolution: int = 128,
    meshes: bool = True,
    pictures: bool = True,
    workers: int | None = None,
    cluster: str | None = None,
    timeout: float = 600.0,
    memory: float = 8.0,
    seed: Seed = 0,
) -> None:
    """Score a prior on known shapes, on unseen shapes, and on partial views of these, beside baselines; failures count.

    Run again with the same settings, it does what is missing.

    Args:
        run: A run folder, or a bundled prior.
        data: Folder that `prepare` wrote, or a URL.
        out: Folder for the report: metrics.json, metrics.csv, report.md, meshes and pictures.
        tasks: codes (training shapes by their codes), full (unseen shapes by codes fitted to all samples), view (unseen shapes
            completed from partial views).
        split: Which shapes full and view take.
        views: How many views together; each number is a condition of its own.
        sensors: What the depth camera is like; each is a condition with each number of views.
        placement: What the prior is told: known, or what it must find: position and scale (aligned), the turn about +y as well
            (upright), any turn (free).
        baselines: Which baselines, or none; all that can be run if not given.
        against: Other run folders or bundled priors, scored alike.
        max_shapes: At most so many shapes a task, evenly spread.
        resolution: Cells along each axis of the unit cube.
        meshes: Whether to write the meshes.
        pictures: Whether to write a picture of each completion.
        workers: Processes; all cores if not given. 0 works in the command's own process, for debugging.
        cluster: Address of a Dask scheduler, such as tcp://host:8786, whose workers do the work instead.
        timeout: Seconds that one row may take.
        memory: GiB of memory that one worker may take.
    """
    from shapeprior.cli.console import evaluate_progress, print_summary
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
    with evaluate_progress() as progress:
        document = evaluate_prior(
            run, Dataset.open(data), out, config=config, seed=seed, against=against, workers=workers, cluster=cluster,
            limits=WorkerLimits(timeout=timeout, memory=memory), progress=progress.update,
        )  # fmt: skip
    print_summary(document)
    print_line(f"report {write_report(out)}, {out / 'report.md'}, figures {out / 'metrics.json'}")


def original(*, out: Path, count: int = 3, seed: Annotated[int, arg(help=UNSEEN_SEED)] = 1) -> None:
    """Make the tables and the figure of the re-implemented work anew, with the bundled priors, beside its published figures.

    Args:
        out: Folder for original.html, original.md, original.png and original.json.
        count: Unseen shapes of each of the five categories.
    """
    from shapeprior.cli.console import count_progress
    from shapeprior.evaluation.reproduction.measure import ReproductionConfig
    from shapeprior.evaluation.reproduction.tables import write_reproduction_tables

    config = ReproductionConfig(count=count, seed=seed)
    with count_progress("shape", total=count * len(config.categories)) as progress:
        page = write_reproduction_tables(out, config=config, progress=progress)
    print_line(f"page     {page}")
    print_line(f"figure   {out / 'original.png'}")
