"""``python -m nescio``, and so ``torchrun -m nescio``: the ``nescio`` command."""

from nescio.cli import run

run()
