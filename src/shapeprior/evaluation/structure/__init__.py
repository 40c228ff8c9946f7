"""Wholeness and thin walls of predicted shapes: parts, handles and holes, the thickness of walls, torn borders, and
roughness where the truth is smooth."""
