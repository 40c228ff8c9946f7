"""TODO train."""

from pathlib import Path

import tyro
from tyro.conf import Positional

from shapeprior.cli.arguments import Device, Seed
from shapeprior.cli.console import print_line


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

    from shapeprior.cli.console import train_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.models.presets import preset as named_preset
    from shapeprior.parallel.system import tune_malloc
    from shapeprior.training.distributed import rank_of_environment
    from shapeprior.training.train import train_prior

    tune_malloc()
    recipe = named_preset(preset)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))
    data = Dataset.open(dataset)
    if rank_of_environment() > 0:  # One process speaks for all.
        train_prior(data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license)
        return
    print_line(f"{len(data.split('train'))} training shapes, preset {preset}, {recipe.train.epochs} epochs")
    with train_progress() as progress:
        train_prior(
            data, out, preset=recipe, seed=seed, device=device, compiled=compile, license=license, progress=progress
        )
    print_line(f"prior {out}, model card {out / 'README.md'}, log {out / 'log.jsonl'}")
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
    from shapeprior.cli.console import encoder_progress
    from shapeprior.datasets.dataset import Dataset
    from shapeprior.parallel.system import tune_malloc
    from shapeprior.training.train_encoder import EncoderTraining, train_encoder

    tune_malloc()
    with encoder_progress() as progress:
        path = train_encoder(
            run,
            data=None if data is None else Dataset.open(data),
            recipe=EncoderTraining(steps=steps),
            seed=seed,
            device=device,
            progress=progress,
        )
    print_line(f"encoder {path}")
