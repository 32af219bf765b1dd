"""What a reader reports in the background: both of its logs, without a thread, so that they send when told to."""

from __future__ import annotations

from typing import Any

from tests.support.fakes import NOW, Clock, FakeProducer

from eddyline.adapters.kafka import Outgoing
from eddyline.adapters.telemetry import Metrics
from eddyline.model.events import Exposure, ServedList, parse_event, parse_impression
from eddyline.model.ids import Person
from eddyline.reader import ExposureLog, ServedListLog

ADA, VISITOR = Person("u", "ada"), Person("a", "cookie")


def served_list(name: str, items: int = 1, **more: Any) -> dict[str, Any]:
    served = [{"item_id": f"i{n}", "rank": n + 1, "score": 0.5} for n in range(items)]
    return {"request_id": name, "user_id": ADA.id, "timestamp": NOW, "took_ms": 12.5, "items": served, **more}


def served_lists(records: list[Outgoing]) -> list[ServedList]:
    read = [parse_impression(record.value) for record in records]
    assert all(isinstance(one, ServedList) for one in read)
    return [one for one in read if isinstance(one, ServedList)]


class Reports:
    """A log with everything around it."""

    metric: str
    unit: str
    unbuildable: str
    """The reason that is counted where no record can be made."""
    size: int
    """What is held of a noted record."""
    log: ServedListLog | ExposureLog

    def __init__(self, producer: Any = None, clock: Clock | None = None) -> None:
        self.producer, self.metrics, self.clock = producer or FakeProducer(), Metrics(), clock or Clock()

    def send(self, after: float = 60.0) -> None:
        """Send what is due when so much time has passed."""
        self.clock.forward(after)
        self.log.send_due()

    def counted(self, reason: str | None = None) -> float:
        """How many were reported, or dropped for a reason."""
        name = f"{self.metric}_total" if reason is None else f"{self.metric}_dropped_total"
        return self.metrics.registry.get_sample_value(name, {} if reason is None else {"reason": reason}) or 0.0


class ServedReports(Reports):
    """The lists that were served, for the measures."""

    metric, unit, unbuildable, size = "eddyline_reader_impressions", "lists", "invalid", 2

    def __init__(self, producer: Any = None, **more: Any) -> None:
        super().__init__(producer)
        self.log: ServedListLog = ServedListLog(self.producer, self.metrics, **more)

    def note(self, name: str) -> None:
        """Serve a list of one item."""
        self.log.note(served_list(name))

    def names(self) -> list[str]:
        return [one.request_id for one in served_lists(self.producer.to("impressions"))]

    def told(self) -> list[ServedList]:
        self.send()
        return served_lists(self.producer.to("impressions"))


class ExposureReports(Reports):
    """What people were shown, for the profiles."""

    metric, unit, unbuildable, size = "eddyline_reader_shown", "items", "broker", 1

    def __init__(self, producer: Any = None, clock: Clock | None = None, **more: Any) -> None:
        super().__init__(producer, clock)
        self.log: ExposureLog = ExposureLog(self.producer, self.metrics, self.clock, **more)

    def note(self, name: str) -> None:
        """Show one item to a person of this name."""
        self.log.note(Person("u", name), ["item"])

    def names(self) -> list[str]:
        return [str(one.user_id) for one in self.exposures()]

    def told(self, after: float = 60.0) -> list[Exposure]:
        self.send(after)
        return self.exposures()

    def exposures(self) -> list[Exposure]:
        return [parse_event(Exposure, one.value) for one in self.producer.to("interactions")]
