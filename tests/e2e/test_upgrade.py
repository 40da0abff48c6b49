"""An upgrade with real processes of the previous release: the newest migration while its worker runs a job.

Migrations are additive from 0.1.0.
"""

import pytest

from testing.upgrade import NoHistory, upgraded

WAITING, LATER = 2, 1


def test_a_database_is_migrated_under_an_old_worker_and_nothing_is_lost(empty_database_url):
    try:
        result = upgraded(empty_database_url, WAITING, LATER)
    except NoHistory as missing:
        pytest.skip(f"THE UPGRADE IS NOT TESTED: {missing}. Use a clone with its whole history.")
    before, after = result["revisions"]
    assert before < after
    assert result["status_of_the_running_one_after_it"] == "running"
    assert result["finished_by"] == {"old": 1, "new": WAITING + LATER}
    assert result["faults"] == dict.fromkeys(result["faults"], 0)
