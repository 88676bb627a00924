"""The command line.

This module imports next to nothing, so that an interrupt during the imports of a command is caught too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its code; docs/commands.md has the codes.

    An error is one line on standard error, whatever it is. Nothing but a defect has a traceback, and that is
    in a file.
    """
    handles_interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles_interrupts:
        signal.signal(signal.SIGINT, _end_at_once)  # there is nothing to clean up during the imports
    from fanpulse.cli.run import run

    if handles_interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt):
        code = run(sys.argv[1:])
    if code == INTERRUPTED:
        os._exit(code)  # threads may hang in a request
    if handles_interrupts:
        signal.signal(signal.SIGINT, _end_at_once)
    sys.exit(code)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
