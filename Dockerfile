# Two images: `pointsman` holds the control plane and the reference GDS; `demo` adds the parts that try them out.
# No feature of BuildKit is used, so that every builder makes them.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
LABEL org.opencontainers.image.title=pointsman
WORKDIR /src
# pip's configuration of the building machine, where it needs one: see docker/pip/.gitignore.
COPY docker/pip/ /pip/
ENV PIP_CONFIG_FILE=/pip/pip.conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The locked dependencies first: they are the slow part, and a change of the source leaves them as they are.
COPY requirements.lock ./
RUN python3 -m venv --without-pip /opt/pointsman \
    && python3 -m pip --python /opt/pointsman/bin/python install --no-deps --require-hashes --only-binary :all: \
        -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY docs/alerts.md docs/operating.md docs/
COPY gds_mock/ gds_mock/
COPY xds/ xds/
RUN python3 -m pip wheel --no-deps --wheel-dir /dist . \
    && python3 -m pip --python /opt/pointsman/bin/python install --no-deps --no-index /dist/*.whl

FROM ${PYTHON_IMAGE} AS pointsman
LABEL org.opencontainers.image.title=pointsman
# A new volume takes its owner from the folder that it is mounted on.
RUN groupadd --gid 10001 pointsman \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pointsman \
    && install -d -o pointsman -g pointsman /certs /data
COPY --from=build /opt/pointsman /opt/pointsman
ENV PATH=/opt/pointsman/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["pointsman", "serve"]

FROM pointsman AS demo
COPY demo/ /opt/demo/demo/
ENV PYTHONPATH=/opt/demo
