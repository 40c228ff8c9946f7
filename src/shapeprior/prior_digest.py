"""What tells one prior from another, whatever they are called."""

import hashlib
import json

from shapeprior.prior import ShapePrior


def prior_digest(prior: ShapePrior) -> str:
    """SHA-256, in hexadecimal, of a prior's settings, weights, codes and encoder."""
    digest = hashlib.sha256(json.dumps(prior.config.to_json(), sort_keys=True).encode())
    modules = {"decoder": prior.decoder, "encoder": prior.encoder}
    for kind, module in modules.items():
        for name, value in sorted(module.state_dict().items()) if module is not None else ():
            digest.update(f"{kind}.{name}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(prior.codes.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
