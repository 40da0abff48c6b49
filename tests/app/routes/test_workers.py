"""What the API shows of what workers measured of their devices."""

import pytest

from tests.app.acts import CEILINGS, NATIVE_BF16, register

pytestmark = pytest.mark.anyio


async def devices(client):
    return [worker["device"] for worker in (await client.get("/workers")).json()["items"]]


async def test_workers_show_their_precisions_and_ceilings(client):
    await register(client, precisions=NATIVE_BF16, ceilings=CEILINGS)
    (device,) = await devices(client)
    assert [one["precision"] for one in device["precisions"]] == ["fp32", "tf32", "fp16", "bf16"]
    assert device["ceilings"] == CEILINGS.model_dump(mode="json")


async def test_a_worker_that_measured_nothing_is_listed_without(client):
    await register(client)
    (device,) = await devices(client)
    assert (device["precisions"], device["ceilings"]) == (None, None)


async def test_a_worker_that_starts_anew_shows_what_it_measured_then(client):
    await register(client, precisions=NATIVE_BF16, ceilings=CEILINGS)
    await register(client, precisions=NATIVE_BF16)
    (device,) = await devices(client)
    assert device["ceilings"] is None
