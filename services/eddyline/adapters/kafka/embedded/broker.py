"""The embedded broker: a journal, and the Kafka protocol in front of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.embedded.cluster_requests import ClusterRequests
from eddyline.adapters.kafka.embedded.group_coordinator import GroupCoordinator
from eddyline.adapters.kafka.embedded.group_requests import GroupRequests
from eddyline.adapters.kafka.embedded.intake_gate import IntakeGate
from eddyline.adapters.kafka.embedded.journal import Journal
from eddyline.adapters.kafka.embedded.journal_cleaner import JournalCleaner
from eddyline.adapters.kafka.embedded.protocol_server import ProtocolServer
from eddyline.adapters.kafka.embedded.record_requests import RecordRequests
from eddyline.adapters.kafka.embedded.store_hold import ADDRESS, HoldStore, StoreHold
from eddyline.adapters.kafka.topic_admin import ensure_topics
from eddyline.errors import AlreadyRunning, Misconfigured
from eddyline.topics import INSIGHTS

DEFAULT_PARTITIONS = 4
MAX_BYTES = 10_000_000_000
_PRODUCER = {"linger.ms": 0.5, "max.in.flight": DEFAULT_PARTITIONS - 1}
"""librdkafka has one request a partition under way. Where it may have as many as there are partitions, its thread waits
for the disk by polling without a pause, which takes a processor. Half a millisecond has what is sent together go
together."""


class EmbeddedBroker:
    """A broker of one node in this process, on the journal in `directory`: its log outlives it.

    `options` say how to reach it, `gate` whether it takes more. The caller must `close` it after those who use it.
    """

    def __init__(
        self,
        directory: Path | None = None,
        partitions: int = DEFAULT_PARTITIONS,
        prefix: str = "",
        topics: Iterable[str] | None = None,
        max_bytes: int = MAX_BYTES,
        rewinds: bool = False,
    ) -> None:
        """`directory` None: one that is deleted at the end. `rewinds`: groups go on from the last `checkpoint`, since
        what they store elsewhere may have been lost after it. Raises `AlreadyRunning` and `Misconfigured`."""
        with ExitStack() as stack:
            if directory is None:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eddyline-")))
            self._journal = Journal(directory, max_bytes)
            stack.callback(self._journal.close)
            if rewinds:
                self._journal.rewind(but={prefix + INSIGHTS}).result()
            groups = GroupCoordinator()
            server = ProtocolServer(groups)
            stack.callback(server.close)
            cluster = ClusterRequests(self._journal, lambda: server.address, lambda: server.apis)
            records, members = RecordRequests(self._journal), GroupRequests(self._journal, groups)
            self._store_hold = StoreHold()
            server.serve((*cluster.apis, *records.apis, *members.apis, *self._store_hold.apis))
            self.gate = IntakeGate(self._journal)
            host, port = server.address
            self.options = KafkaOptions(f"{host}:{port}", prefix=prefix, partitions=partitions, producer=_PRODUCER)
            ensure_topics(self.options, topics)
            (directory / ADDRESS).write_text(f"{host}:{port}")
            self._journal.clean_with(JournalCleaner(self._journal).slices)
            self._stack = stack.pop_all()

    def repeats(self, group: str) -> bool:
        """Tell whether a group has yet to handle again some of what it had handled before a failure of the machine."""
        return self._journal.repeats(self.options.prefix + group)

    def forget_group(self, group: str) -> None:
        """Hold nothing any more for a group that has stopped reading for good."""
        self._journal.forget_group(self.options.prefix + group).result()

    def checkpoint(self) -> Callable[[], None]:
        """Begin to note what groups have committed; call what is returned once all they had stored is on disk."""
        end = self._journal.checkpoint()

        def ended() -> None:
            end()

        return ended

    def hold_store_with(self, hold: HoldStore) -> None:
        """Hold the store with this for those who copy it."""
        self._store_hold.hold_store = hold

    def close(self) -> None:
        """Stop it, once everything submitted is on disk."""
        self._stack.close()


@contextmanager
def open_embedded_log(directory: Path, rewinds: bool) -> Iterator[KafkaOptions]:
    """Reach the log in a directory: through the process that has it open, or a broker of its own for as long as this
    lasts. Raises `Misconfigured`, also where there is none."""
    if not directory.parent.is_dir():
        raise Misconfigured(f"there is no log in {directory}: `eddyline up` makes one")
    try:
        broker = EmbeddedBroker(directory, rewinds=rewinds)
    except AlreadyRunning:
        yield KafkaOptions((directory / ADDRESS).read_text())
        return
    try:
        yield broker.options
    finally:
        broker.close()
