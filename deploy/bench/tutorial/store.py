"""The web store as tutorials have it: each event is sent and flushed in its request.

The argument says with which of the two clients that Python has for Kafka.
"""

import json
import os
import sys

from flask import Flask, jsonify, request

BROKERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
TOPIC = os.environ["KAFKA_TOPIC"]

app = Flask(__name__)

if sys.argv[1] == "kafka-python":
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=BROKERS,
        key_serializer=str.encode,
        value_serializer=lambda event: json.dumps(event).encode(),
    )

    def send(event):
        producer.send(TOPIC, key=event["user_id"], value=event)
        producer.flush()

else:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": BROKERS})

    def send(event):
        producer.produce(TOPIC, key=event["user_id"], value=json.dumps(event))
        producer.flush()


@app.post("/events")
def track_event():
    event = request.get_json()
    send(event)
    return jsonify({"event_id": event["event_id"]}), 202


@app.get("/healthz")
def healthz():
    return "", 200


if __name__ == "__main__":
    host, port = os.environ["STORE_ADDR"].rsplit(":", 1)
    app.run(host=host, port=int(port))
