"""The command line."""

from kinema.cli.app import main

__all__ = ["main"]
