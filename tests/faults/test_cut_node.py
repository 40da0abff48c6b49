"""Two nodes and one PostgreSQL: one is cut off or frozen during a benchmark until the other one has finished it."""

import concurrent.futures

import pytest

from testing.api_process import temporary_folder
from testing.fault_injection.database import View
from testing.fault_injection.network import two_nodes, why_no_namespaces

JOB = {
    "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
    "config": {
        "device": "cpu",
        "explain": False,
        "training": {"batch_size": 16, "steps": 200, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}
WAYS = ("addresses", "namespaces", "frozen")


class CutOff:
    """Cuts off the node that runs a benchmark, lets the other one finish it, and brings the first one back."""

    def __init__(self, way, fleet, nodes, url):
        self._fleet = fleet
        view = View(url)
        view.install_watch()
        self._place = fleet.http.post("/benchmarks", json=JOB).headers["Location"]
        self.name = fleet.until(lambda: (worker_row := self._get()["worker"]) and worker_row["id"])
        worker = fleet.worker(self.name)
        fleet.until(lambda: fleet.trials(worker))
        cut, restore = worker.suspend, worker.resume  # only the worker: its trial runs to the end
        if way != "frozen":
            cut, restore = nodes[self.name].cut, nodes[self.name].restore
        cut()
        fleet.until(lambda: self._get()["attempt"] == 2)
        self.trials_when_replaced = fleet.trials(worker)
        fleet.until(lambda: self._get()["status"] == "succeeded")
        self.tag = self._tag()
        restore()
        fleet.until(lambda: fleet.log_count("claim lost"))
        fleet.until(lambda: self._states() == {"idle"})
        fleet.until(lambda: not view.query("SELECT FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"))
        self.survived = fleet.worker(self.name) == worker
        self.tag_when_back = self._tag()
        self.overwritten = view.query("SELECT wrong FROM watched")
        self.events = fleet.http.get(f"{self._place}/events").json()["items"]
        self.strays = fleet.strays()

    def _get(self):
        return self._fleet.http.get(self._place).json()

    def _tag(self):
        return self._fleet.http.get(f"{self._place}/report").headers["ETag"]

    def _states(self):
        return {row["state"] for row in self._fleet.http.get("/workers").json()["items"]}


def run(way):
    with temporary_folder() as folder, two_nodes(folder, namespaces=way == "namespaces") as running:
        return CutOff(way, *running)


@pytest.fixture(scope="module")
def missing():
    """Why there are no network namespaces here; None if there are."""
    return why_no_namespaces()


@pytest.fixture(scope="module")
def cuts(missing):
    """All ways in parallel, because most of their time is spent waiting for leases."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield {way: pool.submit(run, way) for way in WAYS if way != "namespaces" or missing is None}


@pytest.mark.parametrize("way", WAYS)
def test_a_node_that_is_cut_off_during_a_job_and_comes_back_leads_to_one_result(way, cuts, missing):
    if way not in cuts:
        pytest.skip(f"NOT SHOWN: two nodes as network namespaces: {missing}")
    cut = cuts[way].result()
    pairs = [(event["kind"], event["data"].get("worker")) for event in cut.events]
    (other,) = {"near", "far"} - {cut.name}
    assert [pair for pair in pairs if pair[0] == "started"] == [("started", cut.name), ("started", other)]
    assert [kind for kind, _ in pairs].count("worker_lost") == 1
    assert [kind for kind, _ in pairs].count("succeeded") == 1
    assert pairs[-1][0] == "succeeded"
    assert [event["seq"] for event in cut.events] == list(range(1, len(cut.events) + 1))
    assert cut.overwritten == []
    assert cut.tag == cut.tag_when_back
    assert way == "frozen" or cut.trials_when_replaced == []
    assert cut.strays == []
    assert cut.survived
