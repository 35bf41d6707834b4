# What docker-compose.yaml needs of the image `rabbitmq`: the server as the user rabbitmq, with the place of its data.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
    && apt-get update && apt-get install --yes --no-install-recommends rabbitmq-server \
    && rm -rf /var/lib/apt/lists/* /etc/rabbitmq/* /var/lib/rabbitmq/* /var/lib/rabbitmq/.erlang.cookie \
    && chown rabbitmq /var/lib/rabbitmq /etc/rabbitmq
ENV HOME=/var/lib/rabbitmq PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/bin
VOLUME /var/lib/rabbitmq
CMD ["rabbitmq-server"]
