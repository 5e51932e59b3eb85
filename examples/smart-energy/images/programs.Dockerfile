# Our own program alone: it is linked statically, so it needs nothing else.
FROM scratch
COPY smart-energy /bin/smart-energy
COPY --chown=65534:65534 data /spool
USER 65534:65534
ENTRYPOINT ["smart-energy"]
