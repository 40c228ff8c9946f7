"""The command line as a module: ``python -m shapeprior``."""

from shapeprior.cli.main import main

if __name__ == "__main__":
    main()
