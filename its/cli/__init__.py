"""The command line. In a process of the command `its`, signals are handled before the imports."""

import os.path
import sys

from its.interrupts import end_at_once

if os.path.basename(sys.argv[0]) == "its":
    end_at_once()
