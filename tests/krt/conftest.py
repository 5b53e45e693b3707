"""Lets the tests of the engine share `krt_rows`, `krt_kinds` and `krt_random`, which lie beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
