"""Turns metrics.json and its meshes into one self-contained HTML page.

Entry: page.write_report. May import: everything but cli.
"""
