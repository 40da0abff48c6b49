"""The API: one module per resource. Parse the request, call the use case or the store, build the response."""

from fastapi import APIRouter

from app.routes.api import (
    benchmarks,
    catalogue,
    compare,
    events,
    metrics,
    probes,
    reports,
    sweeps,
    webhooks,
    workers,
)

#: Routes that need an API key where the server asks for one.
guarded: tuple[APIRouter, ...] = (
    benchmarks.router,
    events.router,
    reports.router,
    compare.router,
    sweeps.router,
    webhooks.router,
    workers.router,
    catalogue.router,
)

#: Routes that never need an API key.
open_to_all: tuple[APIRouter, ...] = (probes.router, metrics.router)
