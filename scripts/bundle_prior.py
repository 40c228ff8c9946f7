"""Put a trained run into the package as a bundled prior.

    python scripts/bundle_prior.py RUN NAME --commands "shapeprior synthesize ..." "shapeprior prepare ..." ...

Weights and codes are stored in half precision, without the optimiser's state. The commands that made the run are
recorded beside them in made_by.json.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from shapeprior.completion.registry import bundled_folder
from shapeprior.io.files import write_bytes
from shapeprior.models.checkpoint import RunConfig, read_checkpoint, write_checkpoint
from shapeprior.models.model_card import write_model_card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--commands", nargs="+", required=True)
    arguments = parser.parse_args()
    config = RunConfig.read(arguments.run)
    checkpoint = read_checkpoint(arguments.run, config)
    checkpoint.decoder.half()
    checkpoint.codes = checkpoint.codes.half()
    checkpoint.optimizer = {}
    last = json.loads((arguments.run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    made_by = {
        "commands": arguments.commands,
        "training_shapes": len(config.shape_ids),
        "epochs": last["epoch"],
        "final_loss": last["loss"],
        "training_seconds": round(last["seconds"]),
        "threads": int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())),
        "torch": torch.__version__,
        "licence": "MIT",
    }
    folder = bundled_folder() / "priors" / arguments.name
    write_bytes(folder / "config.json", (json.dumps(config.to_json(), indent=1) + "\n").encode())
    write_bytes(folder / "made_by.json", (json.dumps(made_by, indent=1) + "\n").encode())
    write_checkpoint(folder, checkpoint)
    write_model_card(folder, config, seconds=last["seconds"], license=made_by["licence"].lower())
    encoder = arguments.run / "encoder.safetensors"
    if encoder.exists():
        write_bytes(folder / encoder.name, encoder.read_bytes())
    else:
        (folder / encoder.name).unlink(missing_ok=True)  # An old one belongs to other codes.


if __name__ == "__main__":
    main()
