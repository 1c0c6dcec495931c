"""The command line. One module for each command; PyTorch is imported when one runs."""

from nescio.cli.app import main, run

__all__ = ["main", "run"]
