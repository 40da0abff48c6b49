"""Entry points of installed packages: the only code that a request can choose, and only by a name it has there."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed, is_out_of_memory

#: Of what a plugin says about its failure.
MOST_CHARACTERS = 500


def load(group: str, name: str, code: FailureCode) -> object:
    """What an installed package offers under a name. Raises TrialFailed with the code, and with what is installed."""
    installed = entry_points(group=group)
    # A name that two packages share would mean whichever came first on the path.
    found = [*{(point.value, point.dist and point.dist.name): point for point in installed.select(name=name)}.values()]
    if not found:
        names = ", ".join(sorted(installed.names)) or "none"
        raise TrialFailed.because(code, f"No package on the worker offers {name!r} in {group!r}. Installed: {names}.")
    if len(found) > 1:
        packages = ", ".join(sorted(_package(point) for point in found))
        raise TrialFailed.because(code, f"More than one package offers {name!r} in {group!r}: {packages}. Remove one.")
    with blamed(f"The plugin {name!r} cannot be loaded", code):
        loaded: object = found[0].load()
    return loaded


@contextmanager
def blamed(what: str, code: FailureCode) -> Iterator[None]:
    """Whatever a plugin raises becomes a failure that names it; what it has to say of memory stays what it is."""
    try:
        yield
    except TrialFailed:
        raise
    except Exception as error:  # a plugin's code may raise anything
        if is_out_of_memory(error):
            raise
        said = f"{type(error).__name__}: {error}"[:MOST_CHARACTERS]
        raise TrialFailed.because(code, f"{what}. {said}") from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
