"""Two workers (pytest-xdist) share the cores: each, and every process that its tests start, computes on one thread. Without
workers (-n 0) torch takes what it likes."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
