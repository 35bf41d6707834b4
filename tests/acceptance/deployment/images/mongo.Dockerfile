# What docker-compose.yaml needs of the image `mongo`: mongod, bash, the user mongodb with its folders.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends libcurl4 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 999 --no-create-home --home-dir /data/db mongodb \
    && install -d -o mongodb /data/db /data/configdb
COPY mongod /usr/local/bin/mongod
VOLUME /data/db /data/configdb
CMD ["mongod"]
