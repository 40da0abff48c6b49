"""HTML pages for people. The OpenAPI document leaves them out: programs use the API."""

from fastapi import APIRouter

from app.routes.pages import benchmark, comparing, creating, fleet, listing, login, sweep

routers: tuple[APIRouter, ...] = (
    listing.router,
    creating.router,
    benchmark.router,
    comparing.router,
    fleet.router,
    sweep.router,
    login.router,
)
