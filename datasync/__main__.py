"""`python -m datasync`: the same as the `datasync` command."""

from datasync.cli import main

if __name__ == "__main__":
    main()
