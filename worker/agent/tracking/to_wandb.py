"""A run in Weights & Biases, online or as files for `wandb sync`."""

import wandb

from halftime.contract.request.tracking import Tracking
from worker.agent.tracking.messages import Logged
from worker.agent.tracking.record import Record

#: The report says where it was measured; W&B need not look at this process. A server that is away is soon given up.
SETTINGS = wandb.Settings(
    console="off",
    silent=True,
    disable_git=True,
    disable_code=True,
    x_disable_meta=True,
    x_disable_stats=True,
    x_disable_machine_info=True,
    x_save_requirements=False,
    init_timeout=30,
)


def log(tracking: Tracking, record: Record, report_json: str) -> Logged:
    """Makes a run of the record, the report its artifact. Raises what W&B raises."""
    asked = tracking.wandb
    assert asked is not None
    tags = ["halftime", record.words["verdict"]]
    with wandb.init(
        project=asked.project, mode=asked.mode, name=record.name, config=record.settings, tags=tags, settings=SETTINGS
    ) as run:
        for step, values in record.rows():
            run.log(values, step=step)
        run.summary.update({**record.figures, **record.words})
        report = wandb.Artifact(f"report-{record.benchmark_id}", type="report")
        with report.new_file("report.json") as file:
            file.write(report_json)
        run.log_artifact(report)
        return Logged(run_id=run.id, url=run.url if asked.mode == "online" else None)
