"""How much of this machine's memory is free."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container: v2, v1
UNKNOWN = 4 << 30  # where the system tells nothing


def free_memory() -> int:
    """Bytes that programs may still take (Linux), the whole memory (elsewhere); never more than a container's limit."""
    found = []
    with suppress(OSError):
        found += [1024 * int(kib) for kib in re.findall(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text())]
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in LIMITS:
        with suppress(OSError, ValueError):  # "max" is none
            found.append(int(Path(limit).read_text()))
    return min(found, default=UNKNOWN)
