"""Alerts: when they fire and which labels they name, checked with Prometheus's own tool where it is installed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "halftime.rules.yaml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
PANELS = {panel["title"]: panel for panel in json.loads((DEPLOY / "grafana" / "halftime.json").read_text())["panels"]}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

#: Scrapes a minute apart of two API processes of a healthy service with a worker.
WELL = {
    'up{job="halftime", instance="a"}': "1x60",
    'up{job="halftime", instance="b"}': "1x60",
    'up{job="node", instance="n"}': "1x60",
    'halftime_build_info{job="halftime", instance="a"}': "1x60",
    'halftime_build_info{job="halftime", instance="b"}': "1x60",
    'halftime_database_up{job="halftime", instance="a"}': "1x60",
    'halftime_database_up{job="halftime", instance="b"}': "1x60",
    'halftime_workers{job="halftime", instance="a", device="cpu", state="idle"}': "1x60",
    'halftime_workers{job="halftime", instance="b", device="cpu", state="idle"}': "1x60",
}

#: Scrapes when no API process is left, nor its target in Prometheus.
NO_API = {series: values if "node" in series else "1x10 stale" for series, values in WELL.items()}


def accepts(tmp_path, *tests):
    """Check with promtool that the rules and expressions give the expected results on scraped series."""
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(tests)}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scraped(series):
    return {"interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()]}


@pytest.mark.parametrize("alert", ALERTS)
def test_a_label_that_an_alert_names_is_one_that_its_expression_keeps(alert):
    rule = ALERTS[alert]
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    kept = {label for labels in re.findall(r"\b(?:by|on) \(([\w, ]*)\)", rule["expr"]) for label in labels.split(", ")}
    assert named <= kept


def test_alerts_about_one_process_name_its_instance():
    for alert in ("HalftimeApiDown", "HalftimeDatabaseDown"):
        assert "$labels.instance" in ALERTS[alert]["annotations"]["summary"]
    (target,) = PANELS["Database reachable"]["targets"]
    assert "by (instance)" in target["expr"]


def test_the_alert_for_a_missing_api_needs_no_running_process():
    assert ALERTS["HalftimeApiGone"]["expr"] == "absent(halftime_database_up)"


@promtool
def test_prometheus_accepts_the_rules():
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@promtool
@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (WELL, {}),
        (NO_API, {"HalftimeApiGone": [{"severity": "critical"}]}),
        (
            WELL | {'up{job="halftime", instance="b"}': "1x10 0x60", 'up{job="node", instance="n"}': "0x60"},
            {"HalftimeApiDown": [{"severity": "warning", "job": "halftime", "instance": "b"}]},
        ),
        (
            WELL | {'halftime_database_up{job="halftime", instance="b"}': "1x10 0x60"},
            {"HalftimeDatabaseDown": [{"severity": "critical", "instance": "b"}]},
        ),
        (
            {
                series: values.replace("1x60", "1x10 0x60") if "workers" in series else values
                for series, values in WELL.items()
            },
            {"HalftimeNoWorker": [{"severity": "critical"}]},
        ),
    ],
    ids=["nothing", "no API", "one process of the API", "the database of one process", "the worker"],
)
def test_an_alert_fires_for_what_is_gone_and_no_other(tmp_path, series, fired):
    watched = ("HalftimeApiGone", "HalftimeApiDown", "HalftimeDatabaseDown", "HalftimeNoWorker")
    expected = [
        {
            "eval_time": "40m",
            "alertname": alert,
            "exp_alerts": [
                {"exp_labels": labels, "exp_annotations": annotations(alert, labels)} for labels in fired.get(alert, [])
            ],
        }
        for alert in watched
    ]
    accepts(tmp_path, scraped(series) | {"alert_rule_test": expected})


def annotations(alert, labels):
    """The alert's annotations as Prometheus renders them."""
    return {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)
        for name, text in ALERTS[alert]["annotations"].items()
    }


@promtool
def test_the_first_run_of_a_precision_is_in_the_dashboard(tmp_path):
    (target,) = PANELS["Median run by precision"]["targets"]
    labels = 'job="halftime", instance="a", precision="bf16", status="succeeded"'
    series = {
        f'halftime_run_duration_seconds_bucket{{{labels}, le="{le}"}}': f"0x9 {count}x60"
        for le, count in (("10.0", 0), ("30.0", 1), ("+Inf", 1))
    }
    median = {
        "expr": target["expr"],
        "eval_time": "40m",
        "exp_samples": [{"labels": '{precision="bf16"}', "value": 20}],
    }
    accepts(tmp_path, scraped(series) | {"promql_expr_test": [median]})
