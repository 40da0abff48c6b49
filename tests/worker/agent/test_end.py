"""Tasks that a stopping worker cancels."""

import asyncio
import contextlib

import pytest

from worker.agent.worker import end

pytestmark = pytest.mark.anyio


async def test_a_duty_that_swallows_its_first_cancellation_ends_all_the_same():
    started = asyncio.Event()

    async def duty():
        with contextlib.suppress(asyncio.CancelledError):
            started.set()
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    task = asyncio.create_task(duty())
    await started.wait()
    await asyncio.wait_for(end([task]), 60)
    assert task.cancelled()
