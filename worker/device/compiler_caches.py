"""Cache folders of torch.compile: those that trials share, and those that a killed process left. Loads no torch."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_prefix(pid: int) -> str:
    """Returns what the names of a process's cache folders begin with."""
    return f"halftime-compile-{pid}-"


def remove_caches(pid: int) -> None:
    """Removes the caches of a process that was killed before it could do so."""
    for cache in Path(tempfile.gettempdir()).glob(f"{cache_prefix(pid)}*"):
        shutil.rmtree(cache, ignore_errors=True)


def new_cache() -> tempfile.TemporaryDirectory[str]:
    """Returns an empty cache of this process, to be removed by it. Raises OSError if no folder can be written to."""
    return tempfile.TemporaryDirectory(prefix=cache_prefix(os.getpid()), ignore_cleanup_errors=True)


@contextlib.contextmanager
def shared_cache() -> Iterator[str | None]:
    """Gives a cache for trials that may share what they compile, and removes it afterwards.

    None if no folder can be written to: a trial that compiles says so.
    """
    with contextlib.ExitStack() as stack:
        folder = None
        with contextlib.suppress(OSError):
            folder = stack.enter_context(new_cache())
        yield folder
