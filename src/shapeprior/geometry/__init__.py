"""Similarities, triangle meshes and cameras, with ray casting, nearest points, cleaning, sampling and simplification.

Entry points: `mesh.TriangleMesh` and `transforms.Similarity`. May import: errors, config.
"""
