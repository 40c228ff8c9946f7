"""One function for each command: it parses, calls the library and prints. Nothing heavy loads until a command runs.

Entry: main.main. May import: everything.
"""
