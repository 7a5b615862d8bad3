# The hub's image: one for all processes, which one is the argument (`server`, `chain`, `migrate`, ...).
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/nocust-hub
COPY requirements.txt requirements-tracing.txt ./
# `--build-arg TRACING=yes` adds Sentry and OpenTelemetry.
ARG TRACING=
# The stamp tells run.sh that everything is installed.
RUN python -m venv .hub/venv \
    && .hub/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt ${TRACING:+-r requirements-tracing.txt} \
    && sha256sum <requirements.txt >.hub/venv/.runtime-installed
# The library that verifies signatures together.
COPY nocust nocust
COPY scripts/__init__.py scripts/batch_library.py scripts/
RUN .hub/venv/bin/python -m scripts.batch_library

FROM ${BASE}
# pg_dump and pg_restore for backups; they work with PostgreSQL up to their own version, 15.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client-15 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 hub \
    && useradd --system --uid 10001 --gid hub --home-dir /var/lib/nocust-hub --create-home hub
WORKDIR /opt/nocust-hub
COPY --from=packages /opt/nocust-hub/.hub .hub
COPY . .
ENV PYTHONUNBUFFERED=1 \
    HUB_DATA=/var/lib/nocust-hub \
    HUB_HOST=0.0.0.0
RUN .hub/venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
    && .hub/venv/bin/python -m compileall -q -x '\.hub' . \
    && chmod -R a+rX .
ENV PYTHONDONTWRITEBYTECODE=1
USER hub
VOLUME /var/lib/nocust-hub
EXPOSE 8123
# SIGTERM ends every process in order; run.sh becomes the process itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nocust-hub/run.sh", "prod"]
CMD ["help"]
