"""What must be set before a framework is imported; the stand-in for CuPy."""

import os
import sys
from pathlib import Path

# The tests pose their problems in float64 too, and JAX's flag for that is its user's to set.
os.environ.setdefault("JAX_ENABLE_X64", "1")

# Found there by its metadata, as an installed backend is.
sys.path.append(str(Path(__file__).parent / "proxy"))
collect_ignore = ["proxy"]
