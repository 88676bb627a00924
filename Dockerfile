# One image per service: docker build --build-arg EXTRA=ingest|aggregate|alerts .
# It holds the packages that the service needs, at the versions and hashes of requirements/<EXTRA>.txt, and no build
# tools. The process does not run as root, writes only to /var/lib/fanpulse and /tmp, and is PID 1.
ARG PYTHON=3.13.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG EXTRA
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN python -m venv /opt/build && python -m venv --without-pip /opt/fanpulse
WORKDIR /src
COPY requirements ./requirements
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/fanpulse/bin/python \
      install --require-hashes --only-binary :all: -r "requirements/${EXTRA:?ingest, aggregate or alerts}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY schemas ./schemas
COPY services ./services
COPY fanpulse ./fanpulse
COPY prometheus ./prometheus
COPY grafana ./grafana
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/fanpulse/bin/python install --no-deps --no-index /wheels/*.whl \
 && /opt/fanpulse/bin/python -m compileall -q /opt/fanpulse/lib

FROM python:${PYTHON}
ARG EXTRA
ENV SERVICE=${EXTRA} \
    PATH=/opt/fanpulse/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FANPULSE_STATE_DIR=/var/lib/fanpulse \
    FANPULSE_INGEST_HOST=0.0.0.0 \
    FANPULSE_AGGREGATE_METRICS_HOST=0.0.0.0 \
    FANPULSE_ALERTS_METRICS_HOST=0.0.0.0
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin fanpulse \
 && install -d -o fanpulse -g fanpulse -m 0700 /var/lib/fanpulse
COPY --from=build /opt/fanpulse /opt/fanpulse
# What the image holds, as CycloneDX.
COPY requirements/${EXTRA}.cdx.json /opt/fanpulse/sbom.cdx.json
USER 10001:10001
WORKDIR /var/lib/fanpulse
VOLUME /var/lib/fanpulse
EXPOSE 8080 9101 9102
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=6 CMD ["python", "-c", "\
import os, urllib.request as r; \
port = {'ingest': 8080, 'aggregate': 9101, 'alerts': 9102}[os.environ['SERVICE']]; \
r.urlopen(f'http://127.0.0.1:{port}/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["sh", "-c", "exec python -m fanpulse serve \"$SERVICE\""]
