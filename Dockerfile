# The service in a small image: a user without rights, a root that may be read-only, and one folder to write to.
#
#   docker build -t prosperstack-destination .
#   docker run --read-only -p 8700:8700 -v prosperstack-data:/data --env-file .env -e HOST=0.0.0.0 prosperstack-destination

# Both stages have the same Python: the virtual environment points to it.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /build
# A cache is of no use in a layer, and nobody reads advice here.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# The service needs no pip: the one outside fills this environment.
RUN python -m venv --without-pip /opt/venv
# The dependencies first: they change less often than the code, and their layer is kept.
COPY requirements.lock ./
RUN python -m pip --python /opt/venv/bin/python install --require-hashes --no-deps -r requirements.lock
# The build backend is pinned as well, and stays in this stage.
COPY requirements-build.lock ./
RUN python -m pip install --require-hashes --no-deps -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# No isolation: an isolated build would take the newest backend, with no hash.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/venv/bin/python install --no-deps dist/*.whl

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="ProsperStack Destination" \
      org.opencontainers.image.description="A Segment destination for ProsperStack" \
      org.opencontainers.image.licenses="MIT"
# Fixed numbers, so that whoever mounts a folder can give it to this user.
RUN groupadd --gid 10001 destination \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin destination \
    && install -d -o 10001 -g 10001 -m 0700 /data
# It stays root's: the service cannot change its own code.
COPY --from=build /opt/venv /opt/venv
# Nothing is written beside the code, logs come out as they are written, and what SQLite has to put aside
# goes to the one folder that is writable: /tmp is read-only with the rest.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8700 \
    LOG_FORMAT=json
# From here DATA_DIR=data, as .env.example has it, is the volume as well.
WORKDIR /
USER 10001:10001
# After the folder got its owner: a new volume takes that over.
VOLUME /data
EXPOSE 8700
# Calls end, what was taken is committed, and the process is gone within ten seconds.
STOPSIGNAL SIGTERM
# There is no curl here. A proxy, which the environment may name, has no way to this address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:%s/healthz' % (os.environ.get('PORT') or 8700), timeout=2)"]
ENTRYPOINT ["prosperstack-destination"]
CMD ["serve"]
