"""``python -m hospital`` is the command line."""

import sys

from hospital._command import main

sys.exit(main())
