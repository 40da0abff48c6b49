"""What the service may not load."""

import subprocess
import sys


def loads_none_of(modules, never):
    code = (
        f"import sys; import {modules}; "
        f"loaded = {never} & {{name.split('.')[0] for name in sys.modules}}; "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_app_never_imports_torch_nor_the_worker():
    loads_none_of(
        "app.main, app.cli, halftime.client",
        {"torch", "worker", "numpy", "scipy", "transformers", "altair", "vl_convert"},
    )


def test_the_client_never_imports_what_serves():
    served = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "psycopg", "procrastinate", "alembic", "jinja2", "typer"}
    served |= {"altair", "vl_convert"}
    loads_none_of("halftime.client", served)


def test_a_worker_needs_no_torch_for_what_is_not_a_trial():
    loads_none_of("worker.agent.worker", {"torch", "transformers"})
