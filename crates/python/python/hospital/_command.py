"""The command line: what the scripts ``hospital``, ``hospital-cli`` and ``hospital-serve`` call."""

import os
import sys

from hospital import _native


def main(argv=None):
    """Run the command line with these arguments, or those of the process, and return its exit code."""
    # Checks in Python run in this interpreter, unless another is asked for.
    os.environ.setdefault('HOSPITAL_PYTHON', sys.executable)
    sys.stdout.flush()
    return _native.main(list(sys.argv if argv is None else argv))


if __name__ == '__main__':
    sys.exit(main())
