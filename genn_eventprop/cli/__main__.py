"""``python -m genn_eventprop.cli`` is the same as ``genn-eventprop``."""

import sys

from . import main

sys.exit(main())
