"""The service's log from start to stop, on a database that it creates itself."""

import json
import signal

from testing.api_process import temporary_folder
from testing.processes import child_with
from tests.e2e.test_main_road import job
from tests.service import PATIENCE_SECONDS, running_service


def test_every_line_from_start_to_stop_is_json():
    with temporary_folder() as folder:
        data_dir = str(folder / "data")
        with running_service(None, folder, HALFTIME_DATA_DIR=data_dir, HALFTIME_LOG_FORMAT="json") as service:
            service.until_status(service.post(job()), "succeeded")
            worker = child_with(service.process.pid, "worker")
            worker.kill()
            service.until(lambda: "exited" in service.log.read_text())
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(PATIENCE_SECONDS) == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {"app.cli.supervisor", "app.middleware.access_log", "worker.agent.worker"} <= {
        line["logger"] for line in lines
    }
