"""The minimum for FastAPI and SQLAlchemy: one route with one SELECT. `throughput` compares the API with it."""

from uuid import UUID

import uvicorn
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app.settings import Settings
from app.store.database.tables import BenchmarkRow

settings = Settings()
assert settings.database_url is not None
engine = create_async_engine(settings.database_url.replace("postgresql://", "postgresql+psycopg://"), pool_size=10)
sessions = async_sessionmaker(engine)
app = FastAPI()


@app.get("/one/{benchmark_id}")
async def one(benchmark_id: UUID) -> dict[str, str]:
    async with sessions() as session:
        status = await session.scalar(select(BenchmarkRow.status).where(BenchmarkRow.id == benchmark_id))
    return {"status": status or "unknown"}


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    return {"status": "ok"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=settings.port, log_config=None, access_log=False)
