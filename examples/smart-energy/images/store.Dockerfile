# Debian's InfluxDB, alone with the C library. Its data is in /data, and it tells
# nobody about itself.
FROM scratch
COPY root /
COPY --chown=65534:65534 data /data
ENV INFLUXDB_META_DIR=/data/meta \
    INFLUXDB_DATA_DIR=/data/data \
    INFLUXDB_DATA_WAL_DIR=/data/wal \
    INFLUXDB_REPORTING_DISABLED=true \
    INFLUXDB_MONITOR_STORE_ENABLED=false \
    INFLUXDB_HTTP_LOG_ENABLED=false \
    INFLUXDB_DATA_QUERY_LOG_ENABLED=false
USER 65534:65534
ENTRYPOINT ["influxd", "run", "-config", "/dev/null"]
