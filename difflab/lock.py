"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ConfigError

NAME = ".lock"


@contextmanager
def held(directory: Path, key: str) -> Iterator[None]:
    """Keep the directory for this process; ConfigError if another one has it. `key`: the override that chose it.

    A record lock of the operating system: it goes with the process, however that ends, and children do not inherit it (a
    loader's process may outlive a killed run by seconds, and must not keep out the one that goes on with it).
    """
    path = directory / NAME
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closing it gives the lock back)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise ConfigError(
                f"{key}={directory} is in use by {owner}: wait for it, or choose another directory."
            ) from error
        if path.exists() and os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
            break
        file.close()  # its owner has just ended, and removed it
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
