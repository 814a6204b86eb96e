"""The instnorm command: ``instnorm ...`` and ``python -m instnorm ...`` are the same."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Become the command's program, so that signals and exit codes are its own."""
    program = Path(__file__).with_name("bin") / "instnorm"
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what it becomes would too
    os.execv(program, ["instnorm", *sys.argv[1:]])


if __name__ == "__main__":
    main()
