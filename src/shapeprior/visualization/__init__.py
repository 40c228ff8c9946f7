"""Pictures of meshes and views by ray casting, with no display and no graphics driver.

Entry point: `pictures.comparison_picture`. May import: datasets, scans, and everything below them, but no torch.
"""
