# The service in a small image: a user without rights, a root that may be read-only, and one folder to write to.
#
#   docker build -t prosperstack-destination .
#   docker run --read-only -p 8700:8700 -v prosperstack-data:/data --env-file .env prosperstack-destination

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
# The dependencies first: they change less often than the code, and their layer is kept.
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --require-hashes --python /opt/venv/bin/python -r requirements.lock
# The build backend is pinned in the development lock; it stays in this stage.
COPY requirements-dev.lock ./
RUN python -m pip install --no-cache-dir --require-hashes -r requirements.lock -r requirements-dev.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m hatchling build -t wheel \
    && python -m pip install --no-cache-dir --no-deps --python /opt/venv/bin/python dist/*.whl

FROM python:3.11-slim
LABEL org.opencontainers.image.title="ProsperStack Destination" \
      org.opencontainers.image.licenses="MIT"
# A fixed number, so that whoever mounts a volume can give it to this user.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin destination \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/venv /opt/venv
# Nothing is written beside the code (the root may be read-only), and logs come out as they are written.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8700 \
    LOG_FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8700
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["prosperstack-destination"]
CMD ["serve"]
