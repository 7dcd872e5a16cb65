"""``python -m genn_eventprop`` is the same as ``genn-eventprop``."""

import sys

from .cli import main

sys.exit(main())
