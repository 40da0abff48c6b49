"""Debian's packages, unpacked into a folder: nothing is installed, replaced or started on the machine."""

import os
from pathlib import Path

from testing.images.commands import run

#: The first Debian with Compose 2, a single program without dependencies.
WITH_COMPOSE = "trixie"

ONLY_DOWNLOADED = ["--yes", "--quiet", "--no-install-recommends", "--download-only"]

#: Names that the engine calls; Debian's scripts would link them to one of two variants.
IPTABLES = {name: name.replace("tables", "tables-nft") for name in ("iptables", "iptables-save", "iptables-restore")}


def unpacked(folder: Path, *packages: str) -> dict[str, str]:
    """Unpack these packages with the dependencies missing on this machine; return the environment to run them in."""
    run("apt-get", "update", "--quiet")
    archives, tree = folder / "archives", folder / "tree"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    sandbox = ["--option", "APT::Sandbox::User=root", "--option", "Debug::NoLocking=1"]
    run(
        "apt-get",
        "install",
        *ONLY_DOWNLOADED,
        "--reinstall",
        *sandbox,
        "--option",
        f"Dir::Cache::archives={archives}",
        *packages,
    )
    for archive in archives.glob("*.deb"):
        run("dpkg-deb", "--extract", archive, tree)
    programs = [tree / place for place in ("usr/bin", "usr/sbin", "bin", "sbin")]
    for name, target in IPTABLES.items():
        if (tree / "usr/sbin" / target).exists() and not (tree / "usr/sbin" / name).exists():
            (tree / "usr/sbin" / name).symlink_to(target)
    libraries = [path for path in tree.glob("**/lib/*-linux-gnu") if path.is_dir()]
    return {
        "PATH": ":".join([*map(str, programs), os.environ["PATH"], "/usr/sbin", "/sbin"]),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "XTABLES_LIBDIR": ":".join(str(path / "xtables") for path in libraries),
        "DEBOOTSTRAP_DIR": str(tree / "usr/share/debootstrap"),
    }


def mirror() -> str:
    """Address of this machine's Debian mirror. Raises CommandFailed or StopIteration if there is none."""
    form = ["--format", "$(REPO_URI)", "Identifier: Packages", "Label: Debian"]
    return next(iter(run("apt-get", "indextargets", *form).split()))


def compose(folder: Path) -> Path:
    """Path of Compose 2, from the first Debian that has it."""
    lists, archives = folder / "lists", folder / "compose"
    for place in (lists / "partial", archives / "partial"):
        place.mkdir(parents=True, exist_ok=True)
    sources = folder / "compose.sources"
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {WITH_COMPOSE}\nComponents: main\nSigned-By: {keys}\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": lists,
        "Dir::Cache::archives": archives,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    options = [word for name, value in settings.items() for word in ("--option", f"{name}={value}")]
    run("apt-get", "update", "--quiet", *options)
    run(
        "apt-get",
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        "--download-only",
        *options,
        "docker-compose",
    )
    for archive in archives.glob("docker-compose_*.deb"):
        run("dpkg-deb", "--extract", archive, folder / "compose-tree")
    return folder / "compose-tree/usr/libexec/docker/cli-plugins/docker-compose"
