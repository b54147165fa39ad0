"""``python -m edgeroot`` is the ``edgeroot`` command."""

from edgeroot.cli.main import main

if __name__ == "__main__":
    main()
