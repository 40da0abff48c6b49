"""Loads entry points of installed packages by name: the only third-party code that a request can select."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory

#: Most characters of a plugin's error message that a failure quotes.
MAX_REASON_CHARACTERS = 500


def load(group: str, name: str, code: FailureCode) -> object:
    """Loads an entry point by name. Raises TrialFailed with `code` if it is missing, ambiguous or cannot be loaded."""
    installed = entry_points(group=group)
    # If two packages share a name, the order of the import path would decide.
    matches = [
        *{(point.value, point.dist and point.dist.name): point for point in installed.select(name=name)}.values()
    ]
    if not matches:
        names = ", ".join(sorted(installed.names)) or "none"
        raise TrialFailed.because(
            code,
            f"No package installed on the worker provides {name!r} in {group!r}. Installed: {names}. Install the "
            "package on the worker, or use another name.",
        )
    if len(matches) > 1:
        packages = ", ".join(sorted(_package(point) for point in matches))
        raise TrialFailed.because(
            code, f"Several packages provide {name!r} in {group!r}: {packages}. Remove all but one."
        )
    with plugin_errors(f"The plugin {name!r} cannot be loaded", code):
        loaded: object = matches[0].load()
    return loaded


@contextmanager
def plugin_errors(what: str, code: FailureCode, *passed: type[Exception]) -> Iterator[None]:
    """Turns any exception of a plugin into TrialFailed that names it.

    TrialFailed, out of memory and the types in `passed` stay what they are.
    """
    try:
        yield
    except TrialFailed:
        raise
    except Exception as error:  # a plugin's code may raise anything
        if is_out_of_memory(error) or isinstance(error, passed):
            raise
        reason = f"{type(error).__name__}: {error}"[:MAX_REASON_CHARACTERS]
        raise TrialFailed.because(code, f"{what}. {reason}") from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
