"""Names the cache folders of torch.compile, and removes those that a killed process left. Loads no torch."""

import shutil
import tempfile
from pathlib import Path


def cache_prefix(pid: int) -> str:
    """Returns what the names of a process's cache folders begin with."""
    return f"halftime-compile-{pid}-"


def remove_caches(pid: int) -> None:
    """Removes the caches of a process that was killed before it could do so."""
    for cache in Path(tempfile.gettempdir()).glob(f"{cache_prefix(pid)}*"):
        shutil.rmtree(cache, ignore_errors=True)
