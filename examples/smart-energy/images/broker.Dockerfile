# Debian's nats-server, alone with the C library. Its data is in /data.
FROM scratch
COPY root /
COPY --chown=65534:65534 data /data
USER 65534:65534
ENTRYPOINT ["nats-server"]
