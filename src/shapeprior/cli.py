"""The command line: each command is one function over the same calls that the Python API has.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro
from tyro.conf import Positional, arg

from shapeprior.complete_command import complete
from shapeprior.console import complain, say, say_table
from shapeprior.errors import ShapePriorError, UnexplainedError
from shapeprior.evaluate_command import evaluate
from shapeprior.prior_commands import Device, Seed, encode, interpolate, nearest, sample

UNSEEN_SEED = "Seed that the shapes are generated from; not 0, whose shapes the bundled priors were trained on."


def demo(out: Path = Path("shapeprior-demo")) -> None:
    """Complete a depth image that ships with the package; writes a mesh and a picture.

    Args:
        out: Folder for the mesh and the picture.
    """
    from shapeprior.demo import run_demo

    result = run_demo(out)
    say(f"completed {result.scan_path.name} in {result.seconds:.1f} s; against the true mesh, unseen in training:")
    say_table(result.metrics)
    say(f"mesh     {result.mesh_path}")
    say(f"picture  {result.picture_path}")


def synthesize(
    family: Positional[Literal["can", "mug", "bowl", "camera", "airplane"]], *, count: int, out: Path, seed: Seed = 0
) -> None:
    """Generate closed, varied meshes of a family.

    Args:
        family: Which family.
        count: How many meshes.
        out: Folder for the meshes, one PLY each.
    """
    from shapeprior.datasets.procedural import synthesize_family

    paths = synthesize_family(family, count=count, out=out, seed=seed)
    say(f"{len(paths)} meshes of family {family} in {out}")


def prepare(
    meshes: Positional[Path],
    *,
    out: str,
    layout: Literal[
        "auto", "folder", "categories", "shapenet-v1", "shapenet-v2", "list", "deepsdf-split", "deepsdf-samples"
    ] = "auto",
    root: Path | None = None,
    category: tuple[str, ...] = (),
    samples: str = "10000",
    up: Literal["auto", "x", "y", "z"] = "auto",
    unit: str = "auto",
    test_share: float = 0.2,
    variants: int = 0,
    min_confidence: float = 0.3,
    workers: int | None = None,
    cluster: str | None = None,
    timeout: float = 120.0,
    memory: float = 8.0,
    seed: Seed = 0,
) -> None:
    """Turn a collection of meshes into a data set: cleaned, signed, sampled and split by shape.

    Run again with the same settings, it does what is missing: what was interrupted, and what is new or changed.

    Args:
        meshes: Folder of OBJ, PLY, STL, OFF and GLB files, subfolders included; or a list of meshes, a ShapeNetCore tree,
            a DeepSDF split or DeepSDF samples.
        out: Folder for the data set, or a URL such as s3://bucket/folder.
        layout: How the collection is laid out; auto sees it from what is there.
        root: Folder of the files that a list or split names.
        category: Only these categories, as words (mug) or synsets (03797390).
        samples: Samples a shape, up to 500,000 in all: a number for DeepSDF's mix, or counts such as near=9400,edges=600.
        up: The axis that points up in the meshes; auto takes what the collection or the file format says, or else y.
        unit: Length unit of the meshes, which is recorded: m, cm, mm, in, ft or metres; auto as for up.
        test_share: Share of shapes kept for evaluation, where the collection states no split.
        variants: Stretched copies of each training shape besides itself; 7 helped with 50 to 100 shapes.
        min_confidence: Refuse shapes where the tests of inside and outside agree on a smaller share of the surface.
        workers: Processes; all cores if not given. 0 works in the command's own process, for debugging.
        cluster: Address of a Dask scheduler, such as tcp://host:8786, whose workers do the work instead.
        timeout: Seconds that one shape may take.
        memory: GiB of memory that one worker may take.
    """
    from shapeprior.console import prepare_progress, say_prepared
    from shapeprior.datasets.mesh_source import parse_unit
    from shapeprior.datasets.prepare import left_over, prepare_dataset
    from shapeprior.datasets.prepare_mesh import PrepareConfig
    from shapeprior.parallel.worker import WorkerLimits
    from shapeprior.sdf.sampling import parse_counts

    config = PrepareConfig(
        sampling=parse_counts(samples),
        up=up,
        unit=None if unit == "auto" else parse_unit(unit),
        test_share=test_share,
        variants=variants,
        min_confidence=min_confidence,
    )
    with prepare_progress() as progress:
        data = prepare_dataset(
            meshes,
            out,
            config=config,
            seed=seed,
            layout=layout,
            root=root,
            categories=category,
            workers=workers,
            cluster=cluster,
            limits=WorkerLimits(timeout=timeout, memory=memory),
            progress=progress.update,
        )
    say_prepared(data, progress=progress, left_over=left_over(data))


def inspect(mesh: Positional[Path], *, out: Path | None = None, up: Literal["auto", "x", "y", "z"] = "auto") -> None:
    """Show what preparation makes of one mesh: faces, parts, holes, sign confidence, and a picture of its field.

    Args:
        mesh: The mesh file.
        out: The picture, a PNG: the mesh beside three slices of its signed distance, blue inside; MESH.inspect.png here if
            not given.
        up: The axis that points up; auto takes what the file format says, or else y.
    """
    from shapeprior.console import say_figures
    from shapeprior.visualization.inspection import inspect_mesh
    from shapeprior.visualization.pictures import save_picture

    found = inspect_mesh(mesh, up=up)
    say_figures(found.figures)
    say(f"picture  {save_picture(out or Path(mesh.stem + '.inspect.png'), found.picture)}")


def train(
    dataset: Positional[Path],
    *,
    out: Path,
    preset: str = "triplane-64",
    epochs: int | None = None,
    encoder_steps: int = 2000,
    compile: tyro.conf.FlagCreatePairsOff[bool] = False,
    license: str | None = None,
    seed: Seed = 0,
    device: str = "cpu",
) -> None:
    """Train a prior on a data set; an interrupted run goes on when started again.

    Several processes train one prior together: torchrun --nproc-per-node 4 -m shapeprior train ...

    Args:
        dataset: Folder that `prepare` wrote.
        out: Folder for the run.
        preset: Decoder and recipe: triplane-64, or the faithful deepsdf-256 and deepsdf-512.
        epochs: Passes over the shapes; the preset's if not given.
        encoder_steps: Steps of `train-encoder` afterwards; 0 leaves it out.
        compile: Compile the decoder for the device, which takes minutes at the start.
        license: What you say of the weights in the model card, such as mit or cc-by-4.0; it claims nothing if not given.
        device: Where to train, as PyTorch names it: cpu, cuda, mps. Several processes on cuda take one GPU each.
    """
    import dataclasses

    from shapeprior.console import train_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.models.presets import preset as named_preset
    from shapeprior.parallel.system import keep_freed_memory
    from shapeprior.training.distributed import rank_of_environment
    from shapeprior.training.train import train_prior

    keep_freed_memory()
    recipe = named_preset(preset)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))
    data = Dataset.open(dataset)
    if rank_of_environment() > 0:  # One process speaks for all.
        train_prior(data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license)
        return
    say(f"{len(data.split('train'))} training shapes, preset {preset}, {recipe.train.epochs} epochs")
    with train_progress() as progress:
        train_prior(
            data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license, progress=progress
        )
    say(f"prior {out}, model card {out / 'README.md'}, log {out / 'log.jsonl'}")
    if encoder_steps > 0:
        train_encoder(out, data=dataset, steps=encoder_steps, seed=seed, device=device)


def train_encoder(
    run: Positional[Path], *, data: Path | None = None, steps: int = 2000, seed: Seed = 0, device: Device = "cpu"
) -> None:
    """Train the encoder of a prior, which tells `complete` where to start; `train` does it, too.

    It is trained on views of the training shapes, which the CPU renders first.

    Args:
        run: Folder that `train` wrote.
        data: The data set that it was trained on; without it, views are of the shapes as the decoder makes them, which is worse
            where it makes thin parts badly.
        steps: Steps of training, of 48 views each.
    """
    from shapeprior.console import encoder_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.parallel.system import keep_freed_memory
    from shapeprior.training.train_encoder import EncoderTraining, train_encoder

    keep_freed_memory()
    with encoder_progress() as progress:
        path = train_encoder(
            run,
            data=None if data is None else Dataset.open(data),
            recipe=EncoderTraining(steps=steps),
            seed=seed,
            device=device,
            progress=progress,
        )
    say(f"encoder {path}")


def original(*, out: Path, count: int = 3, seed: Annotated[int, arg(help=UNSEEN_SEED)] = 1) -> None:
    """Make the tables and the figure of the re-implemented work anew, with the bundled priors, beside its published figures.

    Args:
        out: Folder for original.html, original.md, original.png and original.json.
        count: Unseen shapes of each of the five categories.
    """
    from shapeprior.console import count_progress
    from shapeprior.original_measure import OriginalConfig
    from shapeprior.original_tables import write_original_tables

    config = OriginalConfig(count=count, seed=seed)
    with count_progress("shape", total=count * len(config.categories)) as progress:
        page = write_original_tables(out, config=config, progress=progress)
    say(f"page     {page}")
    say(f"figure   {out / 'original.png'}")


COMMANDS = {
    "demo": demo,
    "synthesize": synthesize,
    "prepare": prepare,
    "inspect": inspect,
    "train": train,
    "train-encoder": train_encoder,
    "complete": complete,
    "evaluate": evaluate,
    "encode": encode,
    "nearest": nearest,
    "interpolate": interpolate,
    "sample": sample,
    "original": original,
}


def main() -> None:
    """Entry point of the `shapeprior` command. Exit codes: 0 done, 1 a fault of the input, 2 wrong usage, 3 a scan that no shape
    explains, 130 interrupted."""
    # Threads that wait for work must not spin: on a machine that others use too, spinning made completion seven times slower.
    # OpenMP reads this when torch is first imported, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="shapeprior",
            description="Learn what a category of objects looks like; complete one partial view into a closed mesh.",
        )
    except ShapePriorError as error:
        complain(f"shapeprior: {error}")
        _leave(3 if isinstance(error, UnexplainedError) else 1)
    except KeyboardInterrupt:
        complain("shapeprior: interrupted; start the same command again to go on")
        _leave(130)


def _leave(code: int) -> NoReturn:
    """End with an exit code."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # A process group that has lost a member may abort while the interpreter is taken down, and with it the exit code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
