"""`python -m laconic` is the `laconic` command."""

from laconic.cli.app import main

if __name__ == "__main__":
    main()
