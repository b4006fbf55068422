"""Runs a command that ends when its parent does, however the parent ends (Linux).

    python leash.py PARENT_PID SIGNAL COMMAND...

Run as a file of its own and then replaced by the command: PR_SET_PDEATHSIG outlives exec, and
setting it between fork and exec of a process with threads would not be safe.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, number, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != int(parent):
        sys.exit("the parent ended first")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
