"""Turns metrics.json and the meshes of an evaluation into one self-contained HTML page.

Entry: page.write_report. May import: everything but cli.
"""
