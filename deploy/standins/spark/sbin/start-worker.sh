#!/usr/bin/env bash
# The distribution on PyPI lacks this script too.
. "$SPARK_HOME/sbin/spark-config.sh"
. "$SPARK_HOME/bin/load-spark-env.sh"
exec "$SPARK_HOME/sbin/spark-daemon.sh" start org.apache.spark.deploy.worker.Worker 1 --webui-port "${SPARK_WORKER_WEBUI_PORT:-8081}" "$@"
