"""Exports a report as a run in Weights & Biases, online or as files for `wandb sync`."""

import wandb

from halftime.contract.request.tracking import Tracking
from worker.agent.tracking.messages import Logged
from worker.agent.tracking.record import Record

#: W&B collects nothing about this process, since the report has the environment; connecting times out after 30 s.
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
    """Creates a run from the record, with the report as artifact. Raises what W&B raises."""
    options = tracking.wandb
    assert options is not None
    tags = ["halftime", record.words["verdict"]]
    with wandb.init(
        project=options.project,
        mode=options.mode,
        name=record.name,
        config=record.settings,
        tags=tags,
        settings=SETTINGS,
    ) as run:
        for step, values in record.rows():
            run.log(values, step=step)
        run.summary.update({**record.figures, **record.words})
        report = wandb.Artifact(f"report-{record.benchmark_id}", type="report")
        with report.new_file("report.json") as file:
            file.write(report_json)
        run.log_artifact(report)
        return Logged(run_id=run.id, url=run.url if options.mode == "online" else None)
