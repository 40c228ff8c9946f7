"""The commands that train a prior and its encoder."""

from pathlib import Path

from tyro.conf import FlagCreatePairsOff, Positional

from shapeprior.cli.arguments import Device, Seed
from shapeprior.cli.console import print_line


def train(
    dataset: Positional[Path],
    *,
    out: Path,
    preset: str = "triplane-64",
    epochs: int | None = None,
    encoder_steps: int = 2000,
    compile: FlagCreatePairsOff[bool] = False,
    license: str | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train a prior on a data set. Run the same command again to go on after an interruption.

    Several processes can train one prior together: torchrun --nproc-per-node 4 -m shapeprior train ...
    With --device cuda, each of them takes a GPU of its own.

    Args:
        dataset: Folder that `prepare` wrote.
        out: Folder for the run.
        preset: Decoder and training recipe: triplane-64, triplane-64-sheets for thin sheets such as wings, or
            deepsdf-256 and deepsdf-512, which are faithful to the paper.
        epochs: Passes over the shapes; the preset's number by default.
        encoder_steps: Steps of `train-encoder`, which follows; 0 leaves it out.
        compile: Compile the decoder for the device, which takes minutes at the start.
        license: Licence of the weights to state in the model card, such as mit or cc-by-4.0. By default it states none.
    """
    import dataclasses

    from shapeprior.cli.progress import duration, show_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.models.presets import preset as named_preset
    from shapeprior.parallel.system import tune_malloc
    from shapeprior.training.distributed import rank_of_environment
    from shapeprior.training.run import EpochReport
    from shapeprior.training.train import train_prior

    tune_malloc()
    recipe = named_preset(preset)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))
    data = Dataset.open(dataset)
    if rank_of_environment() > 0:  # The first process reports for all.
        train_prior(data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license)
        return
    print_line(f"{len(data.split('train'))} training shapes, preset {preset}, {recipe.train.epochs} epochs")
    reports: list[EpochReport] = []
    with show_progress("Training", "epochs") as progress:

        def update(report: EpochReport) -> None:
            reports[:] = [report]
            progress.update(report.epoch, report.epochs, f"loss {report.loss:.5f}")

        train_prior(
            data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license, progress=update
        )
    for report in reports:
        print_line(f"trained in {duration(report.seconds)}, loss {report.loss:.5f}")
    print_line(f"prior {out}, model card {out / 'README.md'}, log {out / 'log.jsonl'}")
    if encoder_steps > 0:
        train_encoder(out, data=dataset, steps=encoder_steps, seed=seed, device=device)


def train_encoder(
    run: Positional[Path], *, data: Path | None = None, steps: int = 2000, seed: Seed = 0, device: Device = "cpu"
) -> None:
    """Train the encoder of a prior, which tells `complete` where to start. `train` does this at its end.

    The encoder is trained on views of the training shapes, which the CPU renders first.

    Args:
        run: Folder that `train` wrote.
        data: The data set that the prior was trained on. Without it, the views show the shapes as the decoder makes
            them, which is worse where the decoder makes thin parts badly.
        steps: Training steps of 48 views each.
    """
    from shapeprior.cli.progress import show_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.parallel.system import tune_malloc
    from shapeprior.training.train_encoder import EncoderReport, EncoderTraining, train_encoder

    tune_malloc()
    with show_progress("Rendering views", "shapes") as progress:

        def update(report: EncoderReport) -> None:
            if report.stage == "training" and progress.unit == "shapes":
                progress.begin("Training the encoder", "steps", total=report.total)
            progress.update(report.done, report.total, "" if report.loss is None else f"loss {report.loss:.3f}")

        path = train_encoder(
            run,
            data=None if data is None else Dataset.open(data),
            recipe=EncoderTraining(steps=steps),
            seed=seed,
            device=device,
            progress=update,
        )
    print_line(f"encoder {path}")
