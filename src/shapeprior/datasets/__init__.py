"""Turns a collection of meshes into a data set on disk: finds, splits, prepares and stores them, and reads them back.

Entry: prepare.prepare_dataset, dataset.Dataset. May import: sdf, io, geometry, parallel, errors, config.
"""
