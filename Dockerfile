# One image for every part: `docker run … watchllm up` is the whole product on embedded stores;
# compose.yaml runs proxy, recorder and console one by one on servers.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY sql ./sql
COPY watchllm_proxy ./watchllm_proxy
RUN python -m venv /opt/watchllm \
    && /opt/watchllm/bin/pip install --no-cache-dir .

FROM python:3.12-slim
# A fixed uid, so that the owner of a mounted volume is known.
RUN groupadd --gid 10001 watchllm \
    && useradd --uid 10001 --gid watchllm --create-home watchllm \
    && install -d -o watchllm -g watchllm -m 0700 /data
COPY --from=build /opt/watchllm /opt/watchllm
ENV PATH=/opt/watchllm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WATCHLLM_HOST=0.0.0.0 \
    WATCHLLM_DATA_DIR=/data
USER watchllm
WORKDIR /home/watchllm
VOLUME /data
EXPOSE 8787
STOPSIGNAL SIGTERM
# By http.client: it asks no HTTP_PROXY of the environment, as urllib would.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('WATCHLLM_PORT', '8787')), timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["watchllm"]
CMD ["up"]
