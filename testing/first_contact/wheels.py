"""Wheels needed beside Python and torch, and how to bring them to a machine where nothing can be installed.

This module imports only the standard library.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

#: Distribution by import name. Torch itself needs typing-extensions, and NumPy for arrays.
WHEELS = {
    "annotated_types": "annotated-types",
    "anyio": "anyio",
    "dotenv": "python-dotenv",
    "numpy": "numpy",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "pydantic_settings": "pydantic-settings",
    "pynvml": "nvidia-ml-py",
    "structlog": "structlog",
    "typing_inspection": "typing-inspection",
}

#: Further wheels for `tests/gpu`.
PYTEST_WHEELS = {
    "_pytest": "pytest",
    "iniconfig": "iniconfig",
    "packaging": "packaging",
    "pluggy": "pluggy",
    "pygments": "Pygments",
}

#: Folder where the Makefile looks for wheels; git ignores it.
FOLDER = ".wheels"

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

NO_TORCH = "There is no torch in {python}: install the build for this machine (https://pytorch.org/get-started)."

HOW_TO_FETCH = """\
Where there is a network, in the repository's root:

    {pip}

Where there is none, run that on another machine, for the Python and platform of the first, and bring the folder over:

    {pip} \\
        --only-binary=:all: --python-version {version} --implementation cp --platform manylinux2014_x86_64 \\
        --platform manylinux_2_27_x86_64 --platform manylinux_2_28_x86_64

Then point at it: `PYTHONPATH={folder} python3 -m testing.first_contact`, or `make gpu-record`, which looks there.
"""


def lacking(modules: Iterable[str]) -> list[str]:
    """Modules that cannot be imported, including those of a wheel for another Python."""
    return [name for name in modules if not _imports(name)]


def how_to_fetch(distributions: Iterable[str]) -> str:
    """Commands that fetch these wheels, in the versions of the lock file, and that add them to the path."""
    pins = _pins()
    wheels = [f"'{pins.get(name.lower(), name)}'" for name in distributions]
    return HOW_TO_FETCH.format(
        pip=f"python3 -m pip install --no-deps --no-compile --target {FOLDER} {' '.join(wheels)}",
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
        folder=FOLDER,
    )


def what_is_missing() -> str | None:
    """Message about missing wheels; None if nothing is missing."""
    if importlib.util.find_spec("torch") is None:
        return NO_TORCH.format(python=sys.executable)
    missing = [WHEELS[name] for name in lacking(WHEELS)]
    return f"{sys.executable} lacks {', '.join(missing)}.\n\n{how_to_fetch(missing)}" if missing else None


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _pins() -> dict[str, str]:
    """`NAME==VERSION` by name, from the lock file."""
    lines = CONSTRAINTS.read_text().splitlines() if CONSTRAINTS.exists() else []
    return {line.partition("==")[0].lower(): line for line in lines if "==" in line}
