# docker build -t datasync .
# docker run -d -p 8888:8888 -v datasync:/data --stop-timeout 20 -e S3_BUCKET_NAME=my-bucket \
#     -v "$PWD/api_keys:/run/secrets/api_keys:ro" -e API_KEYS_FILE=/run/secrets/api_keys datasync
#
# Clients outside the container are not on its loopback, so the service lets none of them in
# without API_KEYS. Without a key only /ping, /health/live (which the health check asks),
# /health/ready and the page to log in are open.

# The line of Python and the release of Debian; each build takes the newest patches of both.
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /srv/datasync
# Without the demo's local AWS: the image holds what the service needs and nothing more. Nobody
# installs anything in it afterwards, so the installer goes, too.
COPY requirements-service.txt ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-service.txt \
    && /opt/venv/bin/python -m pip check \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes pip
COPY pyproject.toml server.py ./
COPY scripts/link_project.py scripts/
COPY lambda lambda
COPY datasync datasync
RUN /opt/venv/bin/python scripts/link_project.py \
    && /opt/venv/bin/python -m compileall -q datasync server.py

FROM python:${PYTHON}
# A number, for orchestrators that want to see that it is not root. /data is the one place that
# the service writes to, beside /tmp: everything else may be mounted read-only.
RUN groupadd --gid 10001 datasync \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin datasync \
    && install -d -o datasync -g datasync /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/datasync /srv/datasync
# The working directory is the volume: .env and the mirror lie there. Logs go to stderr.
WORKDIR /data
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOCAL_DOWNLOAD_DIR=/data/files \
    LOG_FILE= \
    LOG_FORMAT=json \
    API_PORT=8888
USER 10001:10001
VOLUME /data
EXPOSE 8888
# The service ends within 10 seconds of it; Docker waits 10, so give it 20 (--stop-timeout).
STOPSIGNAL SIGTERM
# Alive, not ready: who restarts what is unhealthy must not do so because S3 or a disk is.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['API_PORT']}/health/live\", timeout=4)"]
# Exec form: the service is process 1 itself and gets SIGTERM from `docker stop`.
CMD ["datasync", "serve"]
# Last, so that a new revision makes no other layer anew.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="DataSync" \
      org.opencontainers.image.description="Keeps a local directory equal to an S3 bucket, continuously, and can prove it" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
