"""Signed distance fields: of meshes, sampled for training, and (in `isosurface/`) turned back into meshes.

Entry: signed_distance.SignedDistance, sampling.sample_sdf. May import: geometry, errors, config.
"""
