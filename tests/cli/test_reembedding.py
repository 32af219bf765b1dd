"""Another encoder in a process that serves: nothing is lost or refused, and a failure changes nothing."""

from __future__ import annotations

import errno
import gc
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from tests.support.fakes import TinyEncoder, WiderEncoder, near
from tests.support.system import wait_until

from eddyline.adapters.kafka import Outgoing
from eddyline.adapters.vectors import Collections, Distance, VectorStore, generations, item_collection
from eddyline.adapters.vectors.edge import EdgeStore
from eddyline.adapters.vectors.edge_directory import EdgeDirectory
from eddyline.cli import reembedding, runtime
from eddyline.cli.asking import ask_holder
from eddyline.cli.opening import vectors_directory
from eddyline.cli.runtime import Runtime
from eddyline.errors import EddylineError, Misconfigured, Unavailable
from eddyline.model.ids import Person, person_point
from eddyline.model.profile import STORED_VECTORS, Profile
from eddyline.settings import Encoder, Images, Server, Settings
from eddyline.settings import Profile as ProfileSettings

ROLES = ("collector", "embedder", "profiler", "affinity", "reader")
FILMS = {
    "whales": "Whales of the deep ocean",
    "reef": "Life on an ocean reef",
    "pasta": "Cooking fresh pasta",
    "bread": "Baking bread at home",
}


class Hooked(WiderEncoder):
    """Calls `before` ahead of each call that encodes something."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[Sequence[str]], None] = lambda _texts: None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if texts:
            self.before(texts)
        return super().encode(texts)


class World:
    """A data directory, and the process that serves it: started with the first encoder, asked for the second."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.second = place, Hooked()
        self.encoders: dict[str, TinyEncoder] = {"first": TinyEncoder(), "second": self.second}
        self.stored = Encoder(model="first")
        """What the settings of the process say when they are read anew."""
        self.said: list[str] = []
        for module in (runtime, reembedding):
            monkeypatch.setattr(module, "text_encoder", lambda settings, _: self.encoders[settings.encoder.model])
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # it runs in a thread
        monkeypatch.setattr(gc, "freeze", lambda: None)

    def settings(self, model: str) -> Settings:
        return Settings(data_dir=self.place, encoder=Encoder(model=model), server=Server(port=0))

    @contextmanager
    def running(self, model: str = "first") -> Iterator[None]:
        self.process = Runtime(
            self.settings(model), ROLES, lambda: self.settings(model).model_copy(update={"encoder": self.stored})
        )
        failure: list[BaseException] = []

        def run() -> None:
            try:
                self.process.run()
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        with httpx.Client(base_url=self.process.url, timeout=30.0) as self.client:
            wait_until(lambda: self.client.get("/readyz").status_code == 200, "it is ready")
            try:
                yield
            finally:
                self.stop()
                thread.join(60)
        assert not failure, failure

    def stop(self) -> None:
        if not self.process._stopping.is_set():  # a second signal would lose what wasn't handled
            self.process._on_signal(signal.SIGTERM, None)

    @property
    def store(self) -> VectorStore:
        return self.process._store

    # -- what people do ----------------------------------------------------------------------------------------------

    def put(self, *item_ids: str) -> None:
        for item_id in item_ids:
            title = FILMS.get(item_id, f"Film {item_id}")
            assert self.client.put(f"/v1/items/{item_id}", json={"title": title}).status_code == 202

    def click(self, *item_ids: str, **who: str) -> None:
        events = [{"type": "click", "item_id": item_id, **(who or {"user_id": "ada"})} for item_id in item_ids]
        assert self.client.post("/v1/events", json={"events": events}).status_code == 202

    def events(self, user_id: str = "ada") -> int:
        response = self.client.get(f"/v1/users/{user_id}")
        return int(response.json()["events"]) if response.status_code == 200 else 0

    def await_events(self, count: int, user_id: str = "ada") -> None:
        wait_until(lambda: self.events(user_id) == count, f"{count} events of {user_id}, not {self.events(user_id)}")

    def await_items(self, *item_ids: str) -> None:
        def are_there() -> bool:
            return all(self.client.get(f"/v1/items/{item_id}").status_code == 200 for item_id in item_ids)

        wait_until(are_there, f"{item_ids} are there")

    def fill(self) -> None:
        self.put(*FILMS)
        self.await_items(*FILMS)
        self.click("whales", "reef")
        self.await_events(2)

    def found(self, text: str) -> str:
        answer = self.client.get("/v1/search", params={"q": text, "limit": 1})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["items"][0]["item_id"])

    def profile(self, user_id: str) -> Profile:
        person = Person("u", user_id)
        point = self.store.retrieve("profiles", [person_point(person)], vectors=STORED_VECTORS)[person_point(person)]
        return Profile.load(person, point.payload, point.vectors, ProfileSettings())

    # -- what the command does ---------------------------------------------------------------------------------------

    def reembed(self, *, force: bool = False, drop_old: bool = False, **changes: Any) -> str:
        settings = self.settings("second").model_copy(update=changes)
        return ask_holder(settings, force, drop_old, self.said.append, lambda *_: nullcontext(lambda _count: None))

    def live(self) -> Collections:
        return generations.live(self.store)

    def once_writers_stopped(self, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
        say = reembedding.Errand.say

        def saying(errand: reembedding.Errand, line: str) -> None:
            say(errand, line)
            if line == "the writers have stopped":
                then()

        monkeypatch.setattr(reembedding.Errand, "say", saying)


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path / "data", monkeypatch)


def test_what_comes_in_meanwhile_is_there_afterwards_and_after_a_restart(
    it: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with it.running():
        it.fill()
        it.client.put("/v1/users/bob", json={"interests": ["rivers"]})
        wait_until(lambda: it.client.get("/v1/users/bob").status_code == 200, "bob is known")

        def copying(texts: Sequence[str]) -> None:
            it.second.before = lambda _texts: None
            it.put("squid")
            it.click("squid")
            it.await_events(3)  # the old generation serves and learns

        def stopped() -> None:
            it.put("crab")
            it.click("crab", "squid")
            assert it.client.get("/v1/users/ada/recommendations").json()["items"]
            assert it.found("deep ocean whales") == "whales"

        it.second.before = copying
        it.once_writers_stopped(stopped, monkeypatch)
        assert "5 items and 2 profiles in space wider-t1" in it.reembed()
        assert it.live() == Collections("items-2", "profiles-2")
        it.await_items("squid", "crab")
        it.await_events(5)
        it.click("pasta")
        it.await_events(6)
        assert it.found("cooking fresh pasta") == "pasta"
        assert it.found("film crab") == "crab"
        spaces = {point.payload["space"] for point in it.store.scroll("items")[0]}
        assert spaces == {"wider-t1"}
        near(it.profile("bob").onboarding, WiderEncoder().encode(["Interests: rivers"])[0], 1e-5)
        assert 'repeated_total{by="offset"}' not in it.client.get("/metrics").text, "they began where the others ended"
        guard = it.process._guard
        assert guard is not None
        assert "profiler-2" in guard._groups["interactions"]
        assert "profiler" not in guard._groups["interactions"]
        assert any("encoder.model" in line for line in it.said), "the next start needs the same"
    with pytest.raises(Misconfigured, match="eddyline reembed"), it.running("first"):
        pass
    with it.running("second"):
        assert it.events() == 6
        assert it.found("film crab") == "crab"


def test_records_of_the_space_before_that_are_left_in_the_log_are_read_in_the_new_one(
    it: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with it.running():
        it.fill()
        it.client.put("/v1/users/ada", json={"interests": ["rivers"]})
        wait_until(lambda: it.client.get("/v1/users/ada").json()["onboarded"], "ada's answers are known")
        it.click("whales", anonymous_id="visitor")
        origin = it.profile("ada").onboarded
        assert origin is not None

        def stopped() -> None:
            """What the embedder and the profiler of before have sent, and nobody has read yet."""
            log, partition, offset = origin
            onboarded = {
                "type": "onboarded",
                "user_id": "cleo",
                "vector": [0.25] * 16,
                "space": "tiny-t1",
                "origin": {"log": log, "partition": partition, "offset": offset},
            }
            it.process._producer.send_all([Outgoing("interactions", b"u:cleo", orjson.dumps(onboarded), ())])

        it.once_writers_stopped(stopped, monkeypatch)
        it.reembed()
        it.click("pasta", user_id="cleo")
        it.await_events(1, "cleo")
        cleo = it.profile("cleo")
        assert cleo.space == "wider-t1"
        near(cleo.onboarding, WiderEncoder().encode(["Interests: rivers"])[0], 1e-5)


@pytest.mark.parametrize("error", [Misconfigured("another model by now"), ValueError("oops")])
def test_a_failure_leaves_everything_as_it_was(it: World, error: Exception) -> None:
    with it.running():
        it.fill()
        it.second.before = _raise(error)
        reason = "ValueError, which the process has logged" if isinstance(error, ValueError) else str(error)
        with pytest.raises(EddylineError, match=reason) as raised:
            it.reembed()
        assert isinstance(raised.value, Misconfigured) == isinstance(error, Misconfigured)
        assert it.store.collections() == ["items-1", "profiles-1"]
        it.put("squid")
        it.await_items("squid")
        it.click("squid")
        it.await_events(3)
        assert it.found("cooking fresh pasta") == "pasta"
        it.second.before = lambda _texts: None
        assert "5 items and 1 profiles" in it.reembed(), "the next attempt does"


def test_an_encoder_that_is_gone_when_the_writers_have_stopped_does_not_hold_them(it: World) -> None:
    with it.running():
        it.fill()

        def copying(_texts: Sequence[str]) -> None:
            it.put("squid")
            it.await_items("squid")
            it.second.before = _raise(Unavailable("no answer"))

        it.second.before = copying
        with pytest.raises(EddylineError, match="the writers can't wait"):
            it.reembed()
        assert "the writers have stopped" in it.said
        assert it.live() == Collections("items-1", "profiles-1")
        it.click("squid")
        it.await_events(3)
        assert generations.current(it.store).sealed == {}


def test_writers_go_on_once_the_disk_takes_it(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with it.running():
        it.fill()
        write, full = EdgeDirectory.set_aliases, threading.Event()

        def writing(directory: EdgeDirectory, aliases: dict[str, str]) -> None:
            if full.is_set():
                raise OSError(errno.ENOSPC, "No space left on device")
            write(directory, aliases)

        monkeypatch.setattr(EdgeDirectory, "set_aliases", writing)
        it.once_writers_stopped(full.set, monkeypatch)
        with pytest.raises(EddylineError, match="the disk is full"):
            it.reembed()
        assert generations.current(it.store).sealed
        it.click("pasta")
        full.clear()
        it.await_events(3)
        assert generations.current(it.store).sealed == {}


def test_a_failure_after_the_swap_says_what_is_live(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.cli.rebuild._drop", lambda *_: _raise(Misconfigured("no such place"))([]))
    with it.running():
        it.fill()
        with pytest.raises(
            EddylineError, match=r"items-2 and profiles-2 are live, with the new encoder.*no such place"
        ):
            it.reembed()
        assert it.found("cooking fresh pasta") == "pasta"


def test_one_that_is_gone_before_is_waited_for(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.adapters.encoders.patience.FIRST_PAUSE_SECONDS", 0.01)
    with it.running():
        it.fill()

        def once(_texts: Sequence[str]) -> None:
            it.second.before = lambda _texts: None
            raise Unavailable("no answer")

        it.second.before = once
        assert "4 items" in it.reembed()
        assert any("waiting for the encoder" in line for line in it.said)


@pytest.mark.parametrize("when", ["copying", "stopped"])
def test_a_process_that_ends_midway_has_lost_nothing(it: World, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ending() -> None:
        it.click("pasta")
        it.stop()

    def copying(_texts: Sequence[str]) -> None:
        it.second.before = lambda _texts: None
        ending()
        wait_until(it.process._reembedding._stopping.is_set, "it ends")  # type: ignore[union-attr]

    def stopped() -> None:
        ending()
        wait_until(it.process._reembedding._stopping.is_set, "it ends")  # type: ignore[union-attr]

    with it.running():
        it.fill()
        if when == "copying":
            it.second.before = copying
        else:
            it.once_writers_stopped(stopped, monkeypatch)
        with pytest.raises(EddylineError, match=r"ends|ended"):
            it.reembed()
    monkeypatch.undo()
    World.__init__(it, it.place, monkeypatch)
    with it.running():
        assert it.live() == Collections("items-1", "profiles-1")
        it.await_events(3)
        assert it.store.collections() == ["items-1", "profiles-1"]


def test_what_a_killed_process_has_left_holds_nobody_up(it: World) -> None:
    with it.running():
        it.fill()
    store = EdgeStore(vectors_directory(it.settings("first")))
    store.ensure(item_collection(20, Distance.COSINE, {}, "items-2"))
    generations.seal(store, ("items", "profiles"))
    store.close()
    with it.running():
        it.click("pasta")
        it.await_events(3)
        assert it.store.collections() == ["items-1", "profiles-1"]
        assert "4 items" in it.reembed()
        assert it.live().items == "items-2"


def test_a_folder_that_cannot_be_used_for_requests_stops_nobody(it: World) -> None:
    folder = it.settings("first").data_dir / "reembedding"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with it.running():
        it.fill()
        it.click("pasta")
        it.await_events(3)


def test_one_follows_another_and_the_old_is_dropped_where_it_is_asked_for(
    it: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "GRACE_SECONDS", 0.0)
    with it.running():
        it.fill()
        it.reembed()
        assert it.store.collections() == ["items-1", "items-2", "profiles-1", "profiles-2"]
        with pytest.raises(Misconfigured, match="all items are in space wider-t1 already"):
            it.reembed()
        it.click("pasta")
        it.reembed(force=True, drop_old=True)
        assert it.store.collections() == ["items-3", "profiles-3"]
        it.click("bread")
        it.await_events(4)


def test_a_key_is_taken_from_the_settings_of_the_process_or_refused(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Encoder(kind="openai", url="http://models", model="second", api_key="sesame")
    seen: list[Encoder] = []

    def opened(settings: Settings, _metrics: object) -> TinyEncoder:
        seen.append(settings.encoder)
        return it.second

    with it.running():
        it.fill()
        with pytest.raises(Misconfigured, match=r"encoder\.api_key, and keys are not passed on"):
            it.reembed(encoder=endpoint)
        for other in ({"url": "http://elsewhere"}, {"kind": "http"}):
            it.stored = endpoint.model_copy(update=other)
            with pytest.raises(Misconfigured, match="for this url"):
                it.reembed(encoder=endpoint)
        it.stored = Encoder(kind="openai", url="http://models", model="second", api_key="of the file")
        monkeypatch.setattr(reembedding, "text_encoder", opened)
        it.reembed(encoder=endpoint)
        assert [one.api_key.get_secret_value() for one in seen if one.api_key is not None] == ["of the file"]
        assert not any("its next start needs the same" in line for line in it.said), "a start would have the same"


def test_images_of_another_model_need_a_stop(it: World) -> None:
    with it.running():
        it.fill()
        with pytest.raises(Misconfigured, match=r"images\.model is clip here, and none in the process"):
            it.reembed(images=Images(enabled=True, model="clip"))
        assert it.live() == Collections("items-1", "profiles-1")


def _raise(error: Exception) -> Callable[[Sequence[str]], None]:
    def raising(_texts: Sequence[str]) -> None:
        raise error

    return raising
