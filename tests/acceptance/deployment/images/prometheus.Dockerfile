# What docker-compose.yaml needs of the image `prom/prometheus`: its two programs as nobody, and the place of its data.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* /etc/prometheus/* && install -d -o nobody /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
