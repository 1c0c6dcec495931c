"""The application: its commands, and what becomes of errors.

Exit status 0: done. 2: bad usage or bad input, told in one line on stderr.
130: stopped by Ctrl-C. 1: an unexpected failure, with its traceback.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import nescio
from nescio.cli.cache import cache
from nescio.cli.calibrate import calibrate
from nescio.cli.compare import compare
from nescio.cli.console import print_error, set_up_streams
from nescio.cli.demo import demo
from nescio.cli.evaluate import evaluate
from nescio.cli.export import export
from nescio.cli.info import info
from nescio.cli.predict import predict
from nescio.cli.reproduce import reproduce
from nescio.cli.review import review
from nescio.cli.serve import serve
from nescio.cli.train import train
from nescio.cores import prepare_openmp
from nescio.errors import NescioError, UsageError, says_no_memory
from nescio.launch import find_place

EXPECTED_OS_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""What a disk or its owner may do to anyone: told in one line."""

app = App(
    name="nescio",
    help='Image classifiers that say "I don\'t know" when they should.',
    help_epilogue=(
        "DATA is a name (digits, mnist, fashion-mnist, kmnist, shapes, shapes-mixed, "
        "shapes-striped; out of distribution: noise, letters, notmnist, blank, constant, "
        "checkerboard, natural, shapes-novel), a folder with one subfolder a class, an .npz, an "
        "IDX file, WebDataset shards such as 'set-{000..003}.tar', Parquet such as "
        "'part-*.parquet', or hf:FOLDER of Hugging Face's save_to_disk. DATA@SHIFT is a shift of "
        "it, to be judged: inverted, turned, pairs, or with "
        ":SEVERITY from 1 to 5 blur, motion, noise, impulse, rotation, occlusion, contrast, "
        "brightness, shear, zoom, shift, stripe, spatter, jpeg. "
        "Begin with: nescio demo"
    ),
    version=lambda: nescio.__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
for _command in (
    demo,
    train,
    calibrate,
    evaluate,
    compare,
    predict,
    review,
    info,
    export,
    serve,
    reproduce,
    cache,
):
    app.command(_command)


SPEAK_SECONDS = 10.0
"""How long the first process may take to tell an error; we are ended as soon as it has ended."""

ASK_AGAIN_SECONDS = 0.05
"""How soon a dropped Ctrl-C is raised again."""


def run() -> None:
    """The entry point of the ``nescio`` command."""
    prepare_openmp()
    set_up_streams()
    sys.unraisablehook = _keep_interrupts
    # Of a damaged TIFF Pillow logs and warns beside the error that we tell.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status; errors are told on stderr."""
    try:
        _check_processes(arguments)
        status = app(
            list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:  # noqa: BLE001 - the last net: each kind has its status
        return _tell(error)
    return status if isinstance(status, int) else 0


SHARED = ("train", "predict")
"""The commands whose work several processes share."""


def _check_processes(arguments: Sequence[str]) -> None:
    """Several processes that each did all of it would be a mistake."""
    command = arguments[0] if arguments else ""
    if find_place().size > 1 and command not in SHARED and not command.startswith("-"):
        error = UsageError(
            f"nescio {command}: is the work of one process; start it without torchrun "
            f"({' and '.join(SHARED)} are shared by several)"
        )
        error.shared = True
        raise error


def _keep_interrupts(dropped: sys.UnraisableHookArgs) -> None:
    """Raise Ctrl-C again: Python drops one that falls into a finaliser or a callback."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    # A real signal, so that it wakes what waits.
    main_thread = threading.main_thread().ident
    again = threading.Timer(ASK_AGAIN_SECONDS, signal.pthread_kill, (main_thread, signal.SIGINT))
    again.daemon = True
    again.start()


def _let_speak() -> None:
    """The first process tells it for all; torchrun would end it as soon as we end."""
    time.sleep(SPEAK_SECONDS)


def _tell(error: BaseException) -> int:
    """Say what went wrong, and give the exit status for it."""
    rank = find_place().rank
    match error:
        case SystemExit():
            raise error
        case KeyboardInterrupt():
            if not rank:
                print_error(f"stopped by Ctrl-C; {error or 'nothing was changed'}")
            return 130
        case CycloptsError():
            if rank:
                _let_speak()
            else:
                print_error(f"{str(error).removesuffix('.')}; see nescio --help")
            return 2
        case NescioError():
            if error.shared and rank:
                _let_speak()
            else:
                print_error(f"process {rank}: {error}" if rank else str(error))
            return 2
        case OSError() if error.errno in EXPECTED_OS_ERRORS:
            print_error(f"{error.filename or 'writing'}: {error.strerror}")
            return 2
        case _ if says_no_memory(error):
            print_error(
                f"this machine has no memory left for what was asked ({_first_line(error)}); "
                "free some, or ask for less at once"
            )
            return 2
    traceback.print_exception(error)
    return 1


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
