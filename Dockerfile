# Three images:
#   docker build --tag halftime .                         API, worker and embedded PostgreSQL
#   docker build --target api --tag halftime-api .        the API, without torch; needs HALFTIME_DATABASE_URL
#   docker build --target worker --tag halftime-worker .  one worker for one GPU; needs HALFTIME_DATABASE_URL
#
#   docker run --detach --name halftime --hostname halftime --gpus all --publish 127.0.0.1:8000:8000 \
#       --env HALFTIME_ALLOW_ANONYMOUS=true --volume halftime:/var/lib/halftime \
#       --shm-size 1g --stop-timeout 30 halftime
#   docker run --detach --name worker-gpu-0 --hostname worker-gpu-0 --gpus device=0 --env HALFTIME_DATABASE_URL \
#       --volume halftime-locks:/run/lock/halftime --shm-size 1g --stop-timeout 30 halftime-worker
#
# A worker's id begins with its host name: without --hostname every new container is one more worker. --shm-size is the
# shared memory of data loader processes; Docker's default of 64 MB holds few batches. --stop-timeout gives a worker time
# to requeue its benchmark; Docker's default of 10 s may be too short. docs/operations.md shows how to run the images
# read-only and without privileges.

# A separate stage: an edit of pyproject.toml that changes no dependency keeps the layers below cached.
FROM python:3.11-slim AS requirements
WORKDIR /opt/requirements
COPY pyproject.toml ./
RUN python -c "import pathlib, tomllib; \
    project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
    extras = project['optional-dependencies']; \
    write = lambda name, *parts: pathlib.Path(name).write_text( \
        '\n'.join(line for part in parts for line in part if not line.startswith('halftime['))); \
    write('api.txt', project['dependencies'], extras['charts'], extras['server']); \
    write('worker.txt', extras['worker'])"

FROM python:3.11-slim AS api-dependencies
ENV PATH=/opt/halftime/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/halftime
WORKDIR /opt/build
COPY constraints.txt ./
COPY --from=requirements /opt/requirements/api.txt ./
RUN pip install --constraint constraints.txt --requirement api.txt

FROM api-dependencies AS worker-dependencies
# Index with another build of torch. Empty: the build pip finds, which on Linux and x86-64 is one for CUDA.
ARG TORCH_INDEX_URL=
# No dependencies: such an index may lack them in the pinned versions. The next step installs them.
RUN test -z "$TORCH_INDEX_URL" \
    || pip install --no-deps --index-url "$TORCH_INDEX_URL" --constraint constraints.txt torch
COPY --from=requirements /opt/requirements/worker.txt ./
RUN pip install --constraint constraints.txt --requirement worker.txt

# Our code is a separate layer on top of the dependencies, so that a release adds a megabyte, not torch.
FROM api-dependencies AS code
# Build tools are pinned too: without isolation pip uses the installed ones.
RUN pip install --constraint constraints.txt setuptools
COPY pyproject.toml README.md LICENSE ./
COPY halftime halftime
COPY app app
COPY worker worker
RUN pip install --no-deps --no-build-isolation --prefix /opt/code .

FROM python:3.11-slim AS runtime
# As PID 1, tini forwards SIGTERM and reaps orphans. The embedded PostgreSQL is one: unreaped, it seems never to stop.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home halftime \
    && install --directory --owner halftime --group halftime --mode 700 /var/lib/halftime \
    && install --directory --owner halftime --group halftime /run/lock/halftime
# Loopback inside a container is unreachable from outside: the published port decides who can connect. An image cannot
# know that, so the API needs a key, or HALFTIME_ALLOW_ANONYMOUS=true if its port is published on loopback only.
ENV PATH=/opt/halftime/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HALFTIME_HOST=0.0.0.0 \
    HALFTIME_PORT=8000 \
    HALFTIME_DATA_DIR=/var/lib/halftime \
    HALFTIME_LOG_FORMAT=json
WORKDIR /home/halftime
# By number, because Kubernetes' runAsNonRoot cannot resolve a name.
USER 10001:10001
# http.client, because urllib would use a proxy from the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os; \
    api = http.client.HTTPConnection('127.0.0.1', int(os.environ['HALFTIME_PORT']), timeout=4); \
    api.request('GET', '/readyz'); \
    raise SystemExit(api.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--"]

FROM runtime AS api
# A database inside the container would be lost with it.
ENV HALFTIME_EMBEDDED_DATABASE=false
COPY --from=api-dependencies /opt/halftime /opt/halftime
COPY --from=code /opt/code /opt/halftime
EXPOSE 8000
CMD ["halftime", "serve"]

FROM runtime AS with-torch
# For torch.compile: C++ on a CPU, C on a GPU, and the C library's headers. Python's image includes Python's headers.
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
# `utility` includes NVML, in which the worker looks for its GPU.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=worker-dependencies /opt/halftime /opt/halftime
COPY --from=code /opt/code /opt/halftime

FROM with-torch AS worker
# A worker has no port to check: its heartbeat is in the database, and GET /workers shows it.
HEALTHCHECK NONE
ENV HALFTIME_EMBEDDED_DATABASE=false
CMD ["halftime", "worker"]

# Last stage, because a build without --target makes the last one.
FROM with-torch AS halftime
EXPOSE 8000
# A folder mounted here instead of a volume must belong to user 10001, as PostgreSQL requires.
VOLUME /var/lib/halftime
CMD ["halftime", "up"]
