"""A name opens a regular file inside the directory, and nothing else."""

import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from worker.data.files import open_data_file
from worker.errors import TrialFailed

SECRET = b"secret"


@pytest.fixture
def directory(tmp_path):
    """A directory with one file, and a secret outside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    made = tmp_path / "datasets"
    (made / "folder").mkdir(parents=True)
    (made / "folder" / "corpus.txt").write_bytes(b"text")
    return made


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def refused(name, directory, **bounds):
    """The words of the refusal, which never tell where the directory is."""
    before = open_descriptors()
    with pytest.raises(TrialFailed) as raised:
        open_data_file(name, directory, **bounds)
    assert open_descriptors() == before
    failure = raised.value.failure
    assert failure.code == "invalid_data"
    assert repr(name) in failure.detail
    assert str(directory) not in failure.detail
    return failure.detail


def test_a_file_below_the_directory_is_read(directory):
    with open_data_file("folder/corpus.txt", directory) as file:
        assert file.read() == b"text"


def test_the_directory_itself_may_be_a_link_of_the_operator_s(directory, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(directory)
    with open_data_file("folder/corpus.txt", link) as file:
        assert file.read() == b"text"


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret.txt",
        "folder/../../outside/secret.txt",
        "folder/../folder/corpus.txt",
        "./folder/corpus.txt",
        "folder//corpus.txt",
        "",
        ".",
        "..",
        "folder/corpus.txt\x00.txt",
    ],
)
def test_a_name_with_parts_that_are_no_names_is_refused(directory, name):
    assert "not a path relative" in refused(name, directory)


def test_an_absolute_name_is_refused(directory, tmp_path):
    for path in (directory / "folder" / "corpus.txt", tmp_path / "outside" / "secret.txt"):
        with pytest.raises(TrialFailed, match="not a path relative"):
            open_data_file(str(path), directory)


@pytest.mark.parametrize("target", ["../outside/secret.txt", "folder/corpus.txt", "nowhere"])
def test_a_link_is_not_followed_wherever_it_leads(directory, target):
    (directory / "link.txt").symlink_to(target)
    assert "links" in refused("link.txt", directory)


@pytest.mark.parametrize("target", ["../outside", "folder", "/"])
def test_a_link_on_the_way_is_not_followed(directory, target):
    (directory / "way").symlink_to(target)
    (directory / "deep").mkdir()
    (directory / "deep" / "way").symlink_to(directory / "way")
    for name in ("way/secret.txt", "way/corpus.txt", "deep/way/corpus.txt"):
        assert "links are not followed" in refused(name, directory)


def test_a_device_is_refused_before_it_is_opened(directory):
    try:
        os.mknod(directory / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        with pytest.raises(TrialFailed, match="not a regular file"):
            open_data_file("null", Path("/dev"))
    else:
        assert "not a regular file" in refused("zero", directory)


def test_a_pipe_is_refused_and_nobody_waits_for_its_writer(directory):
    os.mkfifo(directory / "pipe")
    assert "not a regular file" in refused("pipe", directory)


def test_a_socket_is_refused(directory, monkeypatch):
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert "not a regular file" in refused("socket", directory)


def test_a_directory_is_refused(directory):
    assert "not a regular file" in refused("folder", directory)


@pytest.mark.parametrize("name", ["missing.txt", "missing/corpus.txt", "x" * 256])
def test_what_is_not_there_is_refused(directory, name):
    assert "cannot be read" in refused(name, directory)


def test_a_file_as_a_folder_is_refused(directory):
    assert "not a directory" in refused("folder/corpus.txt/x", directory)


def test_a_file_beyond_the_bound_is_refused_unread(directory):
    assert "the limit is 3" in refused("folder/corpus.txt", directory, max_bytes=3)


def test_a_worker_without_a_directory_says_so():
    assert "HALFTIME_DATASETS_DIR is not set" in refused("corpus.txt", None)


def test_a_directory_that_is_not_there_is_told_without_its_path(tmp_path):
    assert "HALFTIME_DATASETS_DIR is not a directory" in refused("corpus.txt", tmp_path / "gone")


@contextlib.contextmanager
def without_privileges():
    """As nobody, where the tests run as root: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_is_refused():
    directory = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own is closed to others
    try:
        directory.chmod(0o755)
        for name, mode in (("open.txt", 0o644), ("closed.txt", 0o000)):
            (directory / name).write_bytes(b"text")
            (directory / name).chmod(mode)
        with without_privileges():
            open_data_file("open.txt", directory).close()
            assert "Permission denied" in refused("closed.txt", directory)
    finally:
        shutil.rmtree(directory)


def test_the_file_that_was_looked_at_is_the_one_that_is_read(directory, monkeypatch):
    """Its name becomes a link to the secret in between."""
    really = os.fstat

    def swap(descriptor):
        facts = really(descriptor)
        corpus = directory / "folder" / "corpus.txt"
        if not corpus.is_symlink():
            corpus.unlink()
            corpus.symlink_to("../../outside/secret.txt")
        return facts

    monkeypatch.setattr(os, "fstat", swap)
    with open_data_file("folder/corpus.txt", directory) as file:
        assert file.read() == b"text"
