"""`python -m weft`: the command."""

from weft.cli.start import main

if __name__ == "__main__":
    main()
