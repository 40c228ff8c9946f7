"""A field to a closed mesh: marching cubes on an adaptive grid of bricks, with sharp features on request.

Entry point: `extract.extract_mesh`. May import: geometry, errors, config.
"""
