"""Manifests for Kubernetes, checked without a cluster."""

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from app.background import queues
from app.cli.commands.serving import STREAMS_SECONDS
from app.main import create_app
from app.settings import Settings
from halftime import __version__
from tests.commands import parse
from worker.agent.worker import GRACE_SECONDS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
MIGRATION = FOLDER / "migrate"
FOLDERS = [FOLDER, MIGRATION]
KUSTOMIZATIONS = {folder: yaml.safe_load((folder / "kustomization.yaml").read_text()) for folder in FOLDERS}
EXAMPLE = FOLDER / "secret.example.yaml"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PORT = Settings.model_fields["port"].default

#: Time for the rest of stopping: closing connections, and for a worker the end of a trial.
SETTLING_SECONDS = 10


def _documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def _resources(folder):
    return [document for name in KUSTOMIZATIONS[folder]["resources"] for document in _documents(folder / name)]


RESOURCES = [resource for folder in FOLDERS for resource in _resources(folder)]
WORKLOADS = {resource["metadata"]["name"]: resource for resource in RESOURCES if "template" in resource.get("spec", {})}
PODS = {name: workload["spec"]["template"] for name, workload in WORKLOADS.items()}
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def _one(kind, name):
    (found,) = [item for item in RESOURCES if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def _container(pod):
    (container,) = pod["spec"]["containers"]
    return container


def _selects(selector, labels):
    """Whether a selector of equalities and `In` selects an object."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def _policy(pod):
    """The one network policy of a pod."""
    labels = pod["metadata"]["labels"]
    policies = [item["spec"] for item in RESOURCES if item["kind"] == "NetworkPolicy"]
    (policy,) = [item for item in policies if _selects(item["podSelector"], labels)]
    assert policy["policyTypes"] == ["Ingress", "Egress"], "a direction that is not named is open"
    return policy


def _ports(rules):
    return {(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_every_manifest_is_valid_in_the_oldest_version_named_and_the_newest_known(version):
    assert "(1.27 or later)" in (FOLDER / "kustomization.yaml").read_text()
    for resource in [*RESOURCES, *_documents(EXAMPLE)]:
        kubernetes_validate.validate(resource, version, strict=True)


def test_every_manifest_is_applied_but_the_example_of_a_secret():
    files = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    applied = {folder / name for folder, kustomization in KUSTOMIZATIONS.items() for name in kustomization["resources"]}
    assert files - applied == {EXAMPLE}
    (secret,) = _documents(EXAMPLE)
    assert ":PASSWORD@" in secret["stringData"]["HALFTIME_DATABASE_URL"]


def test_resources_applied_at_an_upgrade_can_be_changed():
    changed = {resource["kind"] for resource in _resources(FOLDER)}
    assert "Job" not in changed, "of a Job, Kubernetes refuses another image"
    assert {resource["kind"] for resource in _resources(MIGRATION)} == {"Job"}
    for name in [resource["metadata"]["name"] for resource in _resources(MIGRATION)]:
        assert f"kubectl delete job {name} --ignore-not-found" in (MIGRATION / "kustomization.yaml").read_text()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_uses_the_images_of_this_version(folder):
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    workloads = [item for item in yaml.safe_load_all(done.stdout) if "template" in item.get("spec", {})]
    images = {_container(item["spec"]["template"])["image"] for item in workloads}
    named = {image["name"] for image in KUSTOMIZATIONS[folder]["images"]}
    assert images == {f"registry.example.com/{name}:{__version__}" for name in named}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_image_is_named_in_the_kustomization_and_built_by_the_dockerfile(folder):
    pods = [resource["spec"]["template"] for resource in _resources(folder) if "template" in resource.get("spec", {})]
    images = KUSTOMIZATIONS[folder]["images"]
    assert {image["name"] for image in images} == {_container(pod)["image"] for pod in pods}
    for image in images:
        assert f" AS {image['name'].removeprefix('halftime-')}\n" in (ROOT / "Dockerfile").read_text()
        assert image["newTag"] == __version__


def test_every_environment_name_is_a_setting():
    settings = {f"HALFTIME_{field.upper()}" for field in Settings.model_fields}
    for path in FOLDER.rglob("*.yaml"):
        assert set(re.findall(r"\bHALFTIME_[A-Z_]+", path.read_text())) <= settings


@each_pod
def test_kubernetes_adds_no_variables_that_could_be_taken_for_settings(pod):
    assert pod["spec"]["enableServiceLinks"] is False


@each_pod
def test_the_database_comes_from_the_secret_of_the_example(pod):
    (secret,) = _documents(EXAMPLE)
    variables = {variable["name"]: variable for variable in _container(pod)["env"]}
    reference = variables["HALFTIME_DATABASE_URL"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == (secret["metadata"]["name"], "HALFTIME_DATABASE_URL")


@each_pod
def test_every_container_starts_a_command_that_exists(pod):
    assert "command" not in _container(pod), "it would take the place of tini, the image's entry point"
    parse(_container(pod)["args"])


@each_pod
def test_pods_keep_to_the_restricted_pod_security_standard(pod):
    of_pod, of_container = pod["spec"]["securityContext"], _container(pod)["securityContext"]
    assert f"USER {of_pod['runAsUser']}:{of_pod['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text()
    assert of_pod["runAsNonRoot"]
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container["capabilities"] == {"drop": ["ALL"]}
    assert of_container["allowPrivilegeEscalation"] is False
    assert of_container["readOnlyRootFilesystem"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False


@each_pod
def test_every_container_has_a_folder_for_temporary_files(pod):
    mounts = {mount["mountPath"]: mount["name"] for mount in _container(pod)["volumeMounts"]}
    assert "/tmp" in mounts  # noqa: S108 # a path in a container
    assert set(mounts.values()) == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_a_worker_can_lock_its_gpu_and_keeps_its_name_when_its_pod_is_replaced():
    worker = _container(PODS["halftime-worker"])
    environment = {variable["name"]: variable for variable in worker["env"]}
    lock_dir = Path(environment["HALFTIME_LOCK_DIR"]["value"])
    assert lock_dir.parent in {Path(mount["mountPath"]) for mount in worker["volumeMounts"]}
    assert environment["NODE_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert environment["SLOT"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.labels['slot']"}}
    assert PODS["halftime-worker"]["metadata"]["labels"]["slot"] == "gpu-0"
    assert worker["args"][-4:] == ["--device", "cuda:0", "--id", "$(NODE_NAME):$(SLOT)"]


@each_pod
def test_every_container_has_requests_and_a_memory_limit(pod):
    resources = _container(pod)["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]


def test_a_worker_fits_a_node_with_four_cpus_beside_what_kubernetes_itself_needs():
    requests = _container(PODS["halftime-worker"])["resources"]["requests"]
    assert (int(requests["cpu"]) < 4, int(requests["memory"].removesuffix("Gi")) < 16) == (True, True)


def test_selectors_find_the_pods_they_mean():
    for name, labels in {name: pod["metadata"]["labels"] for name, pod in PODS.items()}.items():
        if WORKLOADS[name]["kind"] != "Job":
            assert _selects(WORKLOADS[name]["spec"]["selector"], labels)
        assert _selects(_one("PodDisruptionBudget", "halftime-api")["spec"]["selector"], labels) == ("api" in name)
        chosen = {"matchLabels": _one("Service", "halftime-api")["spec"]["selector"]}
        assert _selects(chosen, labels) == ("api" in name)


def test_the_port_is_the_one_that_the_image_listens_on():
    pod = PODS["halftime-api"]
    (port,) = _container(pod)["ports"]
    (of_service,) = _one("Service", "halftime-api")["spec"]["ports"]
    assert of_service["targetPort"] == port["name"]
    annotations = pod["metadata"]["annotations"]
    assert (port["containerPort"], annotations["prometheus.io/port"]) == (PORT, str(PORT))


def test_probes_and_scrapes_use_existing_paths():
    container = _container(PODS["halftime-api"])
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in paths.values()} == {container["ports"][0]["name"]}
    scraped = PODS["halftime-api"]["metadata"]["annotations"]["prometheus.io/path"]
    assert {probe["path"] for probe in paths.values()} | {scraped} <= set(create_app(Settings()).openapi()["paths"])
    assert (paths["liveness"]["path"], paths["readiness"]["path"]) == ("/livez", "/readyz")


def test_the_api_starts_without_a_key_and_rejects_everyone():
    variables = {variable["name"]: variable.get("value") for variable in _container(PODS["halftime-api"])["env"]}
    assert variables["HALFTIME_REQUIRE_API_KEY"] == "true"
    assert "HALFTIME_ALLOW_ANONYMOUS" not in variables


def test_one_api_pod_may_always_be_evicted():
    budget = _one("PodDisruptionBudget", "halftime-api")["spec"]
    assert 1 <= budget["minAvailable"] < WORKLOADS["halftime-api"]["spec"]["replicas"]


def test_the_stop_timeout_covers_what_the_code_needs():
    api, worker = PODS["halftime-api"]["spec"], PODS["halftime-worker"]["spec"]
    pause = int(_container(PODS["halftime-api"])["lifecycle"]["preStop"]["exec"]["command"][-1])
    stopping = STREAMS_SECONDS + queues.GRACE_SECONDS + queues.SETTLING_SECONDS
    assert api["terminationGracePeriodSeconds"] >= pause + stopping + SETTLING_SECONDS
    assert worker["terminationGracePeriodSeconds"] >= GRACE_SECONDS + SETTLING_SECONDS
    assert SERVICES["worker-gpu-0"]["stop_grace_period"] == f"{worker['terminationGracePeriodSeconds']}s"


def test_a_worker_owns_one_gpu_of_a_node_that_has_one():
    pod = PODS["halftime-worker"]["spec"]
    assert _container(PODS["halftime-worker"])["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_data_loaders_share_as_much_memory_as_under_compose():
    mounts = {mount["mountPath"]: mount["name"] for mount in _container(PODS["halftime-worker"])["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in PODS["halftime-worker"]["spec"]["volumes"]}
    shared = volumes[mounts["/dev/shm"]]  # noqa: S108 # a path in a container
    assert (shared["medium"], shared["sizeLimit"]) == ("Memory", "1Gi")
    assert SERVICES["worker-gpu-0"]["shm_size"] == "1gb"


@each_pod
def test_every_pod_may_reach_the_database_and_dns(pod):
    assert _ports(_policy(pod)["egress"]) >= {("UDP", 53), ("TCP", 53), ("TCP", 5432)}


def test_the_api_accepts_connections_on_its_port_only_and_only_it_sends_webhooks():
    policies = {name: _policy(pod) for name, pod in PODS.items()}
    assert _ports(policies["halftime-api"]["ingress"]) == {("TCP", PORT)}
    assert {name for name, policy in policies.items() if ("TCP", 443) in _ports(policy["egress"])} == {"halftime-api"}


@pytest.mark.parametrize("name", ["halftime-worker", "halftime-migrate"])
def test_workers_and_migrations_accept_no_connections(name):
    assert "ingress" not in _policy(PODS[name])
