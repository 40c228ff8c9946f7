"""The networks: decoders, encoder, latent space, presets and checkpoints, and the losses and optimisers that fit them.

Entry: presets.preset, decoder.Decoder, checkpoint.read_checkpoint. May import: sdf, io, geometry, parallel, errors,
config.
"""
