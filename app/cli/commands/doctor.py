"""The command `doctor`: checks what Halftime needs on this machine and names a remedy for each problem."""

import importlib.util
import json
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from app.cli.commands.serving import settings_or_exit
from app.cli.database import is_missing
from app.cli.shared import JsonOption, cli, out
from app.reports.text.ceilings import ceilings_line
from app.reports.text.precisions import precisions_line
from app.reports.text.sanitize import safe_text
from app.settings import Settings
from halftime.contract.resources.worker import WorkerDevice

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Time limit for the probe of all devices; a driver may hang.
PROBE_SECONDS = 180.0
RECHECK = "Fix the device as the reason says. The worker checks it again every minute, and when it restarts."


@cli.command()
def doctor(as_json: JsonOption = False) -> None:
    """Checks the database, torch and the devices. Exits with 1 if something that Halftime needs is missing."""
    settings = settings_or_exit()
    findings = [*_database(settings), *device_findings()]
    if as_json:
        print(json.dumps(findings, indent=2))
    else:
        table = Table("Part", "State", "Remedy")
        for finding in findings:
            table.add_row(*(safe_text(finding[name], most=4000) for name in ("part", "state", "remedy")))
        out.print(table)
    raise typer.Exit(0 if all(finding["ok"] for finding in findings) else 1)


def _database(settings: Settings) -> list[dict[str, Any]]:
    # Imported here so that the other commands and shell completion start faster.
    from sqlalchemy import create_engine, text  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    from app.store.database.connection import located, place  # noqa: PLC0415

    kind = "external" if settings.database_url else "embedded"
    where = f"{place(settings)}, created just now" if is_missing(settings) else place(settings)
    try:
        with located(settings) as url, create_engine(url, poolclass=NullPool).connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            quarantined = _quarantined(connection)
    except (SQLAlchemyError, ValueError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        remedy = (
            "Check HALFTIME_DATABASE_URL." if settings.database_url else "Check that HALFTIME_DATA_DIR is writable."
        )
        reason = str(error).split("\n", maxsplit=1)[0]
        return [_finding(f"database ({kind})", False, f"{place(settings)}: {reason}", remedy)]
    return [_finding(f"database ({kind})", True, f"PostgreSQL {version}, {where}"), *quarantined]


def _quarantined(connection: "Connection") -> list[dict[str, Any]]:
    """Lists workers whose device is sick. Workers of other machines are listed, but do not fail the check."""
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415

    from app.store.workers import QUARANTINED  # noqa: PLC0415

    try:
        rows = connection.execute(QUARANTINED).all()
    except ProgrammingError:  # the database is not migrated yet
        return []
    here = f"{platform.node()}:"
    return [
        _finding(
            f"worker {id_}", not id_.startswith(here), f"quarantined since {since:%Y-%m-%d %H:%M}: {reason}", RECHECK
        )
        for id_, reason, since in rows
    ]


def device_findings() -> list[dict[str, Any]]:
    """Probes the devices of this machine in a process of their own, which loads torch."""
    if importlib.util.find_spec("torch") is None:
        return [_finding("torch", False, "not installed", "pip install 'halftime[worker]'")]
    try:
        probe = subprocess.run(
            [sys.executable, "-m", "worker", "probe"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        remedy = "Check `nvidia-smi` and the kernel log; reset the GPU or reboot."
        return [_finding("devices", False, f"no answer within {PROBE_SECONDS:.0f} s", remedy)]
    if probe.returncode:
        return [_finding("torch", False, probe.stderr.strip().split("\n")[-1], "Reinstall torch for this machine.")]
    devices = json.loads(probe.stdout)
    findings = [device_finding(device) for device in devices]
    if len(devices) == 1:
        remedy = "To run CUDA jobs, check `nvidia-smi`, the driver, and that torch is a CUDA build."
        findings.append(_finding("cuda", True, "no GPU; CUDA jobs fail with cuda_unavailable", remedy))
    return findings


def device_finding(probed: dict[str, Any]) -> dict[str, Any]:
    """Describes one device. An emulated precision gets a remedy, but does not fail the check."""
    facts = {field: probed.get(field) for field in ("kind", "gpu", "memory_bytes")}
    measured = {"precisions": probed.get("support"), "ceilings": probed.get("ceilings")}
    device = WorkerDevice(name=probed["device"], **measured, **facts)
    name = f"{device.name} ({device.gpu})" if device.gpu else device.name
    gib = device.memory_bytes / 2**30 if device.memory_bytes else 0
    health = "sick; " if probed["faults"] else ""
    precisions = precisions_line(device) or ", ".join(probed["precisions"])
    state = f"{health}{precisions}; {_ceilings(device, probed)}{gib:.0f} GiB; torch {probed['torch']}"
    emulated = [one.remedy for one in device.precisions or [] if one.kernels == "emulated" and one.remedy]
    remedy = " ".join([*probed["faults"], *emulated, *probed["problems"].values()])
    ok = bool(probed["precisions"]) and not probed["faults"]
    return _finding(name, ok, state, remedy) | measured


def _ceilings(device: WorkerDevice, probed: dict[str, Any]) -> str:
    if probed.get("ceilings_missing"):
        return f"ceilings unknown: {probed['ceilings_missing']}; "
    return f"{ceilings_line(device)}; " if device.ceilings else ""


def _finding(part: str, ok: bool, state: str, remedy: str = "") -> dict[str, Any]:
    return {"part": part, "ok": ok, "state": state, "remedy": remedy}
