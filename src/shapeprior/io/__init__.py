"""File formats and storage: meshes, point clouds, depth images, camera intrinsics, tensors, and the stores that hold
them.

Entry: meshes.load_mesh, store.open_store. May import: geometry, errors, config.
"""
