# docker build -t datasync .
# docker run -p 8888:8888 -v datasync:/data -e S3_BUCKET_NAME=my-bucket -e API_KEYS=a-long-random-key datasync
#
# Clients outside the container are not on its loopback, so the service lets none of them in
# without API_KEYS. Only /ping, which the health check asks, is open.

FROM python:3.12-slim AS build
WORKDIR /srv/datasync
RUN python -m venv /opt/venv
# Without the demo's local AWS: the image holds what the service needs and nothing more.
COPY requirements-service.txt ./
RUN /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-service.txt
COPY pyproject.toml server.py ./
COPY scripts/link_project.py scripts/
COPY datasync datasync
COPY lambda lambda
RUN /opt/venv/bin/python scripts/link_project.py \
    && /opt/venv/bin/python -m compileall -q datasync server.py

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin datasync \
    && install -d -o datasync -g datasync /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/datasync /srv/datasync
# The working directory is the volume: .env, the mirror and the log file lie there.
WORKDIR /data
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LOCAL_DOWNLOAD_DIR=/data/files \
    LOG_FILE= \
    LOG_FORMAT=json \
    API_PORT=8888
USER datasync
VOLUME /data
EXPOSE 8888
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['API_PORT']}/ping\", timeout=4)"]
# Exec form: the service is process 1 itself and gets SIGTERM from `docker stop`.
CMD ["datasync", "serve"]
