#!/usr/bin/env bash
# Stand-in for the entry point of Bitnami's image: default configuration where none is
# there, a name for an unknown user, set-up before run.sh, and any other command as it is.
set -euo pipefail
export SPARK_CONF_DIR=$SPARK_HOME/conf SPARK_MODE=${SPARK_MODE:-master} SPARK_NO_DAEMONIZE=${SPARK_NO_DAEMONIZE:-true}
export SPARK_MASTER_URL=${SPARK_MASTER_URL:-spark://spark-master:7077}
cp -nr "$SPARK_HOME/conf.default/." "$SPARK_CONF_DIR"
if [ "$(id -u)" != 0 ] && [ -e "$LIBNSS_WRAPPER_PATH" ]; then
    echo "spark:x:$(id -u):$(id -g):Spark:$SPARK_HOME:/bin/false" >"$NSS_WRAPPER_PASSWD"
    echo "spark:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
    echo "LD_PRELOAD=$LIBNSS_WRAPPER_PATH" >>"$SPARK_CONF_DIR/spark-env.sh"
fi
if [ "$1" = /opt/bitnami/scripts/spark/run.sh ] && [ ! -f "$SPARK_CONF_DIR/spark-defaults.conf" ]; then
    mv "$SPARK_CONF_DIR/spark-defaults.conf.template" "$SPARK_CONF_DIR/spark-defaults.conf"
fi
exec "$@"
