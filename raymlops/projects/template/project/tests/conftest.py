"""The project's package is found beside its tests, as it is in a job that runs from the bundle."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
