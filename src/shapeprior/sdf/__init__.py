"""Signed distance fields: of meshes, sampled for training, and (in `isosurface/`) turned back into meshes.

Entry points: `signed_distance.SignedDistance` and `sampling.sample_sdf`. May import: geometry, errors, config.
"""
