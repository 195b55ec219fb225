#!/usr/bin/env bash
set -euo pipefail
if [ "$SPARK_MODE" = master ]; then
    exec start-master.sh
fi
exec start-worker.sh "$SPARK_MASTER_URL"
