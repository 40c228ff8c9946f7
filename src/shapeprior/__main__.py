"""``python -m shapeprior``."""

from shapeprior.cli import main

if __name__ == "__main__":
    main()
