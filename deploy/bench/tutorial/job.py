"""The streaming job as tutorials have it: foreachBatch, and Spark's default settings.

Prints one JSON object: when the query was started, and the progress of each micro-batch.
"""

import json
import os
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json

SCHEMA = "event_id string, event_type string, event_time timestamp, user_id string, book_id string"

spark = (
    SparkSession.builder.appName("tutorial")
    .master(f"spark://127.0.0.1:{os.environ['SPARK_MASTER_PORT']}")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.executor.memory", os.environ["SPARK_WORKER_MEMORY"])
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.cassandra.connection.host", os.environ["CASSANDRA_HOSTS"])
    .config("spark.cassandra.connection.port", os.environ["CASSANDRA_PORT"])
    .config("spark.cassandra.auth.username", "bookstore_job")
    .config("spark.cassandra.auth.password", os.environ["CASSANDRA_JOB_PASSWORD"])
    .getOrCreate()
)

events = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", os.environ["KAFKA_BOOTSTRAP_SERVERS"])
    .option("subscribe", os.environ["KAFKA_TOPIC"])
    .option("startingOffsets", "earliest")
    .option("maxOffsetsPerTrigger", os.environ["MAX_OFFSETS_PER_TRIGGER"])
    .load()
    .select(from_json(col("value").cast("string"), SCHEMA).alias("event"))
    .select("event.*")
)


def write(batch, _):
    batch.write.format("org.apache.spark.sql.cassandra").options(keyspace="bookstore", table="events").mode("append").save()


started = time.time()
query = (
    events.writeStream.foreachBatch(write)
    .option("checkpointLocation", os.environ["CHECKPOINT_LOCATION"])
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
print(json.dumps({"started": started, "progress": query.recentProgress}))
spark.stop()
