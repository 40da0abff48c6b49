"""Pictures of every page, light and dark, on a desktop and a phone: `python -m tests.browser.screenshots`.

A real service measures real work on the CPU of this machine, and the pictures show what comes of it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
from playwright.async_api import async_playwright

from app.store.database.embedded import embedded_server
from tests.browser.conftest import CHROMIUM, DESKTOP, NO_CHROMIUM, PHONE, QUIET
from tests.service import running_service

IMAGES = Path(__file__).parents[2] / "docs" / "images"

#: More than this makes a clone slow.
LARGEST_BYTES = 150_000

SIZES = {"desktop": DESKTOP, "phone": PHONE}
MODES = ("light", "dark")

TRANSFORMER = {"kind": "transformer", "vocab_size": 64, "hidden_size": 256, "num_layers": 2, "sequence_length": 64}
CONFIG = {
    "device": "cpu",
    "training": {"batch_size": 16, "steps": 40, "learning_rate": 0.002},
    "measurement": {"min_blocks": 4, "max_blocks": 4},
}


def job(model, labels, **config):
    return {"model": model, "config": CONFIG | config, "labels": labels}


def prepared(service):
    """A benchmark in every state; gives the address of each page by its name."""
    made = [
        service.post(job(TRANSFORMER, {"team": "ranking", "run": "first"})),
        service.post(job({"kind": "mlp"}, {"team": "ads"})),
    ]
    failed = service.post({"model": {"kind": "convnet"}, "labels": {"team": "vision"}})
    many = {"request": job({"kind": "mlp"}, {"team": "ads"}), "vary": {"batch_sizes": [8, 32]}}
    sweep = service.http.post("/sweeps", json=many).raise_for_status().headers["Location"]
    for benchmark_id in made:
        service.until_status(benchmark_id, "succeeded")
    service.until(lambda: service.http.get(sweep).json()["counts"].get("succeeded") == 2)
    running = service.post(job(TRANSFORMER, {"team": "ranking", "run": "second"}, measurement={"min_blocks": 16}))
    service.post(job({"kind": "mlp"}, {"team": "ads"}))
    service.until(lambda: ((service.get(running)["progress"] or {}).get("block") or 0) > 3)
    return {
        "running": f"/ui/benchmarks/{running}",
        "list": "/",
        "new": "/ui/new?example=transformer",
        "report": f"/ui/benchmarks/{made[0]}",
        "pictures": f"/ui/benchmarks/{made[0]}#pictures",
        "sweep": f"/ui{sweep}",
        "choice": "/ui/compare",
        "failed": f"/ui/benchmarks/{failed}",
        "compare": f"/ui/compare?ids={made[0]}&ids={made[1]}",
        "workers": "/ui/workers",
    }


async def take(browser, service, pages):
    """Each page in each mode and size, as the first screenful of it."""
    for name, path in pages.items():
        for mode in MODES:
            for size, viewport in SIZES.items():
                context = await browser.new_context(viewport=viewport, color_scheme=mode)
                page = await context.new_page()
                await page.goto(f"{service.url}{path}")
                await page.wait_for_timeout(700)  # the estimate of the form, the first event of a stream
                target = IMAGES / f"{name}-{size}-{mode}.png"
                await page.screenshot(path=target)
                await context.close()
                assert target.stat().st_size < LARGEST_BYTES, target


async def take_all(service, database_url):
    """The login comes last: from the first key on, it is all that there is to see."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        await take(browser, service, await anyio.to_thread.run_sync(prepared, service))
        url = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
        command = [sys.executable, "-m", "app.cli", "keys", "create", "pictures"]
        subprocess.run(command, env=os.environ | {"HALFTIME_DATABASE_URL": url}, check=True, capture_output=True)
        await anyio.sleep(2)
        await take(browser, service, {"login": "/ui/login"})
        await browser.close()


def main():
    if CHROMIUM is None:
        sys.exit(NO_CHROMIUM)
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        with embedded_server(Path(folder) / "pg") as url, running_service(url, Path(folder)) as service:
            anyio.run(take_all, service, url)


if __name__ == "__main__":
    main()
