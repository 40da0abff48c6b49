"""Exports a report as a run in MLflow, on the tracking server at MLFLOW_TRACKING_URI."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from pydantic import JsonValue

from halftime.contract.request.tracking import Tracking
from worker.agent.tracking.messages import Logged
from worker.agent.tracking.record import Record

#: Limits of one MLflow request, and of one param: https://mlflow.org/docs/latest/api_reference/rest-api.html
MAX_METRICS, MAX_PARAMS, MAX_PARAM_CHARACTERS = 1000, 100, 6000

Entry = TypeVar("Entry")


class NoServer(Exception):
    """MLFLOW_TRACKING_URI is not set."""


def log(tracking: Tracking, record: Record, report_json: str) -> Logged:
    """Creates a run from the record, with the report as artifact. Raises NoServer, and what MLflow raises."""
    options = tracking.mlflow
    assert options is not None
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        raise NoServer("MLFLOW_TRACKING_URI is not set on the worker. Set it to the URL of the tracking server.")
    experiment = mlflow.set_experiment(options.experiment).experiment_id
    with mlflow.start_run(experiment_id=experiment, run_name=record.name, tags=record.words) as run:
        run_id = run.info.run_id
        _fill(run_id, record)
        mlflow.log_text(report_json, "report.json")
    page = f"{address.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
    return Logged(run_id=run_id, url=page if address.startswith(("http://", "https://")) else None)


def _fill(run_id: str, record: Record) -> None:
    client = MlflowClient()
    for params in _batches(_params(record), MAX_PARAMS):
        client.log_batch(run_id, params=params)
    for metrics in _batches(_metrics(record), MAX_METRICS):
        client.log_batch(run_id, metrics=metrics)


def _params(record: Record) -> Iterator[Param]:
    for section, settings in record.settings.items():
        for name, value in settings.items():
            yield Param(f"{section}/{name}", _text(value)[:MAX_PARAM_CHARACTERS])


def _metrics(record: Record) -> Iterator[Metric]:
    now_ms = round(time.time() * 1000)
    for name, figure in record.figures.items():
        yield Metric(name, figure, now_ms, 0)
    for step, values in record.rows():
        for name, value in values.items():
            yield Metric(name, value, now_ms, step)


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _batches(entries: Iterator[Entry], size: int) -> Iterator[Sequence[Entry]]:
    while batch := list(islice(entries, size)):
        yield batch
