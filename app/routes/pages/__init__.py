"""What a person sees in a browser. None of it is in the OpenAPI document: programs have the API."""

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
