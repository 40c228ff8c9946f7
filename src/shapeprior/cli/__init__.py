"""The command line. Each command is one function that reads its arguments, calls the library and prints the result.

Entry: main.main. May import: everything.
"""
