"""The web store as tutorials have it: each event is sent and flushed in its request."""

import json
import os

from confluent_kafka import Producer
from flask import Flask, jsonify, request

app = Flask(__name__)
producer = Producer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})


@app.post("/events")
def track_event():
    event = request.get_json()
    producer.produce(os.environ["KAFKA_TOPIC"], key=event["user_id"], value=json.dumps(event))
    producer.flush()
    return jsonify({"event_id": event["event_id"]}), 202


@app.get("/healthz")
def healthz():
    return "", 200


if __name__ == "__main__":
    host, port = os.environ["STORE_ADDR"].rsplit(":", 1)
    app.run(host=host, port=int(port))
