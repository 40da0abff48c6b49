"""Looks at processes that may end between being listed and being asked."""

import contextlib

import psutil


def children(process, recursive=False):
    """Child processes, none if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=recursive)
    return []


def command(process):
    """Its arguments, none if it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def child_with(pid, argument):
    """The one child whose command line has the argument."""
    (child,) = [child for child in children(psutil.Process(pid)) if argument in command(child)]
    return child


def grandchildren(pid):
    """Of a worker: its trials, as children of its fork server."""
    return [trial for server in children(psutil.Process(pid)) for trial in children(server)]


def fork_servers(pid=None):
    """Children that are fork servers, as multiprocessing names them."""
    return [child for child in children(psutil.Process(pid)) if "forkserver" in " ".join(command(child))]


def gone(processes):
    """Whether all have ended; a zombie has, and waits for its parent alone."""
    return all(_ended(process) for process in processes)


def _ended(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True
