"""The only doors to the outside: Kafka, the vector store, the encoder, HTTP, telemetry."""
