"""PySpark's Connect client beside the Go one, for the tests.

    pyspark_client.py REMOTE get ID       what it sees of a query
    pyspark_client.py REMOTE start NAME   starts a query and leaves it running

The result is one JSON object on standard output.
"""

import json
import sys
import time

from pyspark.sql import SparkSession

remote, action, argument = sys.argv[1:]
spark = SparkSession.builder.remote(remote).getOrCreate()

if action == "get":
    query = spark.streams.get(argument)
else:
    ticks = spark.readStream.format("rate").load()
    query = ticks.writeStream.format("noop").queryName(argument).start()

progress = query.lastProgress
for _ in range(300):
    if progress is not None:
        break
    time.sleep(0.1)
    progress = query.lastProgress

print(json.dumps({
    "id": query.id,
    "runId": query.runId,
    "name": query.name,
    "isActive": query.isActive,
    "recent": query.recentProgress,
}))
