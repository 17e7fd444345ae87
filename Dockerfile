# The gateway for PCs and 64-bit ARM. Same stages as Dockerfile.arm32v7: the two differ in what stands above the first
# FROM only, and a test compares them. Why so: docs/decisions/0025-shipping.md.
#
#   docker build --platform linux/amd64 -t gateway:0.1.0-amd64 .
#   make image-amd64, make image-arm64        the same, also on a machine without Docker

ARG BASE=docker.io/library/debian:bookworm-slim
ARG BUILD_BASE=docker.io/library/debian:bookworm-slim
# Everything comes as a wheel, NumPy and Pillow included.
ARG FROM_DEBIAN=""

FROM ${BASE} AS base
ARG FROM_DEBIAN
ENV LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
# ca-certificates: the hub's; tzdata: cloud.timezone. NumPy's own tests and headers are a third of it, and unused.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3 tzdata ${FROM_DEBIAN} \
    && rm -rf /usr/lib/python3/dist-packages/numpy/*/tests /usr/lib/python3/dist-packages/numpy/tests \
        /usr/lib/python3/dist-packages/numpy/core/include /usr/lib/python3/dist-packages/numpy/core/lib \
        /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/*

# On the building machine's own architecture, whatever the image is for: wheels are only unpacked, nothing is compiled.
FROM --platform=${BUILDPLATFORM} ${BUILD_BASE} AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3-pip python3-venv python3-wheel
# Given where the registry is reached through an authority of one's own (shipping/image.sh).
ARG PIP_CERT
ARG TARGETARCH
WORKDIR /src
COPY shipping/lock lock
COPY shipping/unpack.sh ./
RUN python3 -m venv --system-site-packages --without-pip /opt/gateway \
    && sh unpack.sh lock "${TARGETARCH}" /opt/gateway/lib/python3.11/site-packages
COPY pyproject.toml LICENSE README.md ./
COPY gateway gateway
COPY adapters adapters
COPY config config
RUN sh unpack.sh own /opt/gateway

FROM base
LABEL org.opencontainers.image.title="gateway-bridge" \
      org.opencontainers.image.description="Offline-first gateway bridge: pictures and readings in over HTTP, MQTT and BLE, classified on site, on disk before the acknowledgement, forwarded to Azure IoT Hub" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --home-dir /data --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 0750 /data
COPY config/container.toml /etc/gateway-bridge/gateway.toml
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    GATEWAY_CONFIG=/etc/gateway-bridge/gateway.toml
USER gateway
WORKDIR /data
VOLUME /data
EXPOSE 8080 1883
# Liveness only: a full outbox, or no link to the hub, is no reason to be restarted. A Pi under load starts Python in
# seconds, hence the long timeout.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
    CMD ["/opt/gateway/bin/python", "-m", "gateway.healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run"]
