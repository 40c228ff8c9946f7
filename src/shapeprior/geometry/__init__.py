"""Similarities, triangle meshes and cameras, and what is asked of them: rays, nearest points, cleaning, sampling.

Entry: mesh.TriangleMesh, transforms.Similarity. May import: errors, config.
"""
