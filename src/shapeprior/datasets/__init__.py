"""Turn collections of meshes into data sets on disk: find, split, prepare and store shapes, and read them back.

Entry: prepare.prepare_dataset, dataset.Dataset. May import: sdf, io, geometry, parallel, errors, config.
"""
