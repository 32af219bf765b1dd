"""The collector: takes in events, items and people over HTTP, and acknowledges what Kafka has."""
