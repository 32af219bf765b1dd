"""A Kafka broker in this process, for the embedded size and for tests: one node, on a journal in the data directory."""

from eddyline.adapters.kafka.embedded.broker import EmbeddedBroker, open_embedded_log
from eddyline.adapters.kafka.embedded.intake_gate import GatedProducer, IntakeGate

__all__ = ["EmbeddedBroker", "GatedProducer", "IntakeGate", "open_embedded_log"]
