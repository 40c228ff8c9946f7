"""Files to arrays and back: meshes, point clouds, depth images, intrinsics, tensors, and the stores that hold them.

Entry: meshes.load_mesh, store.open_store. May import: geometry, errors, config.
"""
