"""Runs Python with a tmpfs mounted on a folder, in its own mount namespace, invisible to other processes."""

import functools
import os
import subprocess
import sys

import pytest

#: Mounts a tmpfs on $2 with the options $1, then runs the rest.
MOUNTED = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
PATIENCE_SECONDS = 120


def python_with_tmpfs(folder, options, code, **environment):
    """Return the output of code that runs with a tmpfs on the folder; skip the test if mounting is not possible."""
    missing = _why_no_mounts()
    if missing is not None:
        pytest.skip(f"NOT SHOWN: {missing}")
    command = _mounting(options, str(folder), sys.executable, "-c", code)
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@functools.cache
def _why_no_mounts():
    if sys.platform != "linux":
        return "mount namespaces need Linux"
    try:
        tried = subprocess.run(_mounting("size=1m", "/dev/shm", "true"), capture_output=True, text=True, check=False)  # noqa: S108
    except OSError as error:
        return f"mount namespaces cannot be made here (unshare and mount are needed): {error}"
    return tried.stderr.strip() or "mount namespaces cannot be made here" if tried.returncode else None


def _mounting(options, folder, *command):
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-c", MOUNTED, "sh", options, folder, *command]
