"""Tens of thousands of requests generated from the OpenAPI document, against a running API.

HALFTIME_TEST_GENERATED sets the number of cases of each operation.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from testing.api_process import served, temporary_folder
from testing.generated_requests import LONG, generate

CASES = 3000


def measure() -> dict[str, object]:
    """Number of requests, responses of the API by status, and whether every check passed."""
    cases = int(os.environ.get("HALFTIME_TEST_GENERATED", CASES))
    with temporary_folder() as folder:
        settings = {
            "HALFTIME_DATA_DIR": str(folder),
            "HALFTIME_REQUIRE_API_KEY": "true",
            "HALFTIME_MAX_QUEUED": "1000000",
            "HALFTIME_WEBHOOK_ALLOWED_HOSTS": "localhost",
            "HALFTIME_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
        }
        with served(**settings) as (_, http):
            result = generate(str(http.base_url), _made_key(settings), cases, LONG)
            answers = _answers(http)
    if not result.passed:
        print(result.printed[-6000:])
    return {
        "cases_per_operation": cases,
        "generated": result.requests,
        "passed": result.passed,
        "answers_by_status": dict(sorted(answers.items())),
        "answers_5xx": sum(count for status, count in answers.items() if status.startswith("5")),
    }


def _made_key(settings: dict[str, str]) -> str:
    command = [Path(sys.executable).with_name("halftime"), "keys", "create", "generated", "--scope", "admin"]
    result = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _answers(http: httpx.Client) -> Counter[str]:
    """Responses by status, as counted by the API itself."""
    answers: Counter[str] = Counter()
    for family in text_string_to_metric_families(http.get("/metrics").text):
        if family.name == "halftime_http_request_duration_seconds":
            for sample in family.samples:
                if sample.name.endswith("_count"):
                    answers[sample.labels["status"]] += int(sample.value)
    return answers
