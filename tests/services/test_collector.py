"""The collector over HTTP: what is taken is acknowledged, what isn't says why."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from structlog.testing import capture_logs
from tests.services.serving import problem, served
from tests.support.fakes import NOW, Clock, FakeProducer

from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.errors import Misconfigured, Overloaded, TooLarge, Unavailable
from eddyline.model.events import ImpressionReport, format_timestamp, parse_impression
from eddyline.settings import AttributeKind, EventSettings, ServerSettings
from eddyline.topics import RECORD_BYTES

CLICK = {"type": "click", "item_id": "i1", "user_id": "ada"}
SEEN = {"type": "impression", "request_id": "r1", "user_id": "ada"}
OUTSIDE: dict[str, Any] = {
    **SEEN,
    "items": [{"item_id": "a", "rank": 1, "score": 0.5, "category": "space"}, {"item_id": "b", "rank": 2}],
    "surface": "home",
    "strategy": "the old one",
    "experiment": "move",
    "variant": "control",
    "revision": "0a1b2c3d",
}
ODD_IDS = [
    "https://a/b?c",
    "..",
    ".",
    "a/similar",
    "ünïcödé 🎬",
    "%",
    "%2F",
    "a b+c",
    "availability",
    "#x",
    "a//b",
    "x" * 512,
]


class Place:
    """A running collector, what it wrote, and a client."""

    def __init__(self, client: httpx.Client, producer: FakeProducer, metrics: Metrics, clock: Clock) -> None:
        self.client, self.producer, self.metrics, self.clock = client, producer, metrics, clock

    def post(self, body: Any, path: str = "/v1/events", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=content, headers=names)

    def events(self) -> list[Any]:
        return self.producer.values("interactions")


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[httpx.Client, FakeProducer, Metrics, Clock]]:
    producer, metrics, clock = FakeProducer(), Metrics(), Clock()
    collector = Collector(producer, EventSettings(), ServerSettings(max_batch=100), metrics, clock)
    with served(collector.router(), metrics=metrics) as client:
        yield client, producer, metrics, clock


@pytest.fixture
def it(_running: tuple[httpx.Client, FakeProducer, Metrics, Clock]) -> Iterator[Place]:
    place = Place(*_running)
    yield place
    place.producer.sent.clear()
    place.producer.refuse = place.producer.delivery = place.producer.room = None


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_is_acknowledged_and_lies_under_its_persons_key(it: Place) -> None:
    answer = it.post({**CLICK, "timestamp": "2026-09-01T12:00:00+02:00", "context": {"surface": "home", "slot": 3}})
    assert answer.status_code == 202
    [event_id] = answer.json()["ids"]
    assert answer.json() == {"accepted": 1, "rejected": [], "ids": [event_id]}
    [sent] = it.producer.sent
    assert (sent.topic, sent.key) == ("interactions", b"u:ada")
    assert it.events() == [
        {
            "v": 1,
            **CLICK,
            "event_id": event_id,
            "timestamp": "2026-09-01T10:00:00Z",
            "context": {"surface": "home", "slot": 3},
        }
    ]


def test_cloudevents_attributes_travel_as_headers(it: Place) -> None:
    it.post({**CLICK, "event_id": "e1"})
    assert dict(it.producer.sent[0].headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_source": b"/eddyline/collector",
        "ce_type": b"io.eddyline.interaction.v1",
        "content-type": b"application/json",
    }


def test_an_event_without_a_time_gets_that_of_its_arrival_and_one_slightly_ahead_too(it: Place) -> None:
    it.post({"events": [CLICK, {**CLICK, "timestamp": NOW + 3600}, {**CLICK, "timestamp": (NOW - 60) * 1000}]})
    assert [event["timestamp"] for event in it.events()] == [
        format_timestamp(NOW),
        format_timestamp(NOW),
        format_timestamp(NOW - 60),
    ]


def test_a_signed_in_person_goes_before_the_anonymous_one(it: Place) -> None:
    anonymous = {"type": "view", "item_id": "i1", "anonymous_id": "x7"}
    it.post({"events": [anonymous, {**anonymous, "user_id": "ada"}]})
    assert [sent.key for sent in it.producer.sent] == [b"a:x7", b"u:ada"]


def test_events_are_taken_whatever_their_content_type(it: Place) -> None:
    for kind in ("text/plain;charset=UTF-8", "application/json", "application/octet-stream"):
        assert it.post(CLICK, content_type=kind).status_code == 202
    assert len(it.producer.sent) == 3


# -- impressions -------------------------------------------------------------------------------------------------------


def test_what_was_seen_of_a_list_goes_to_the_impressions_under_its_persons_key(it: Place) -> None:
    answer = it.post({**SEEN, "anonymous_id": "x7", "positions": [3, 1, 3], "context": {"device": "tv"}})
    [event_id] = answer.json()["ids"]
    assert answer.json() == {"accepted": 1, "rejected": [], "ids": [event_id]}
    [sent] = it.producer.sent
    assert (sent.topic, sent.key) == ("impressions", b"u:ada")
    assert dict(sent.headers)["ce_id"] == event_id.encode()
    seen = parse_impression(sent.value)
    assert isinstance(seen, ImpressionReport)
    assert (seen.request_id, seen.positions, seen.items) == ("r1", [1, 3], None)
    assert (seen.event_id, seen.timestamp, seen.context) == (event_id, NOW, {"device": "tv"})


def test_a_whole_list_that_was_opened_and_another_systems_list_are_impressions_too(it: Place) -> None:
    assert it.post({"events": [{**SEEN, "timestamp": NOW - 60}, OUTSIDE]}).json()["accepted"] == 2
    opened, outside = (parse_impression(sent.value) for sent in it.producer.to("impressions"))
    assert isinstance(opened, ImpressionReport)
    assert (opened.positions, opened.items, opened.timestamp) == (None, None, NOW - 60)
    assert isinstance(outside, ImpressionReport)
    said = orjson.loads(outside.to_bytes())
    assert {name: said[name] for name in OUTSIDE} == OUTSIDE


def test_impressions_come_beside_other_events_and_each_topic_counts_its_own(it: Place) -> None:
    def counted(topic: str) -> float:
        name = "eddyline_collector_accepted_total"
        return it.metrics.registry.get_sample_value(name, {"topic": topic}) or 0.0

    before = {topic: counted(topic) for topic in ("interactions", "impressions")}
    mixed = [SEEN, CLICK, {**SEEN, "item_id": "i"}, {**SEEN, "anonymous_id": "x", "user_id": None}, SEEN]
    answer = it.post({"events": mixed}, content_type="text/plain;charset=UTF-8").json()
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (4, [2])
    assert [(sent.topic, sent.key) for sent in it.producer.sent] == [
        ("impressions", b"u:ada"),
        ("interactions", b"u:ada"),
        ("impressions", b"a:x"),
        ("impressions", b"u:ada"),
    ]
    assert {topic: counted(topic) - before[topic] for topic in before} == {"interactions": 1, "impressions": 3}


def test_an_impression_sent_again_with_its_key_has_the_same_id(it: Place) -> None:
    first = it.post({"events": [SEEN, CLICK]}, Idempotency_Key="k").json()["ids"]
    assert it.post({"events": [SEEN, CLICK]}, Idempotency_Key="k").json()["ids"] == first
    assert it.post({"events": [SEEN, CLICK]}, Idempotency_Key="other").json()["ids"] != first


def test_impressions_that_the_broker_cannot_take_are_not_dropped_silently(it: Place) -> None:
    it.producer.refuse, it.producer.room = Overloaded("the queue is full", retry_after=2), 1
    answer = it.post({"events": [{**SEEN, "event_id": "e1"}, {**SEEN, "event_id": "e2"}]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["acknowledged"] == ["e1"]


def test_the_type_of_what_was_seen_stays_its_own_whatever_the_settings_weigh(it: Place) -> None:
    collector = Collector(it.producer, EventSettings(weights={"click": 1.0}), ServerSettings(), Metrics())
    with served(collector.router()) as client:
        assert client.post("/v1/events", json=SEEN).status_code == 202


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", "body", "empty"),
        (b"{", "body", "not valid JSON"),
        (b'{"type":"click","item_id":"\xff","user_id":"ada"}', "body", "not valid JSON"),
        (b'{"type":"click","item_id":"\\ud800","user_id":"ada"}', "body", "not valid JSON"),
        (b'{"type":"click","item_id":"i1","user_id":"ada","value":NaN}', "body", "not valid JSON"),
        (b'{"type":"click","item_id":"i1","user_id":"ada","value":1e999}', None, ""),
        (b"[" * 100_000, "body", "not valid JSON"),
        ([CLICK], "body", "events"),
        ("click", "body", ""),
        ({}, "type", "is needed"),
        ({"events": []}, "events", "at least one"),
        ({"events": CLICK}, "events", "list"),
        ({"events": [CLICK], "extra": 1}, "extra", "no such field"),
        ({"events": [7]}, None, "JSON object"),
        ({"type": "click", "user_id": "ada"}, "item_id", "is needed"),
        ({"type": "click", "item_id": "i1"}, "user_id", "anonymous_id"),
        ({**CLICK, "type": "wave"}, "type", "unknown type 'wave'; known are cart, click"),
        ({**CLICK, "type": "w" * 65}, "type", "64"),
        ({**CLICK, "type": ["click"]}, "type", "string"),
        ({**CLICK, "type": {}}, "type", "string"),
        ({**CLICK, "type": "onboarded"}, "type", "reserved"),
        ({**CLICK, "type": "erased"}, "type", "reserved"),
        ({**CLICK, "type": "transfer"}, "type", "reserved"),
        ({**CLICK, "type": "shown"}, "type", "reserved"),
        ({**CLICK, "item_id": "x" * 10_000}, "item_id", "512"),
        ({**CLICK, "item_id": "é" * 257}, "item_id", "512 bytes"),
        ({**CLICK, "item_id": ""}, "item_id", "1"),
        ({**CLICK, "item_id": 7}, "item_id", "string"),
        ({**CLICK, "item_id": "a\0b"}, "item_id", "NUL"),
        ({**CLICK, "timestamp": "2099-01-01T00:00:00Z"}, "timestamp", "24 hours ahead"),
        ({**CLICK, "timestamp": "2026-09-01T12:00:00"}, "timestamp", "has no offset"),
        ({**CLICK, "timestamp": "yesterday"}, "timestamp", "not RFC 3339"),
        ({**CLICK, "timestamp": True}, "timestamp", "RFC 3339"),
        ({**CLICK, "timestamp": -1}, "timestamp", "before 1970"),
        ({**CLICK, "timestamp": -9.9e10}, "timestamp", "before the year 1"),
        ({**CLICK, "timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", "before 1970"),
        ({**CLICK, "timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp", "24 hours ahead"),
        ({**CLICK, "timestamp": 10**400}, None, ""),
        ({**CLICK, "type": "rating"}, "value", "is needed with a rating"),
        ({**CLICK, "type": "rating", "value": "5"}, "value", "number"),
        ({**CLICK, "type": "rating", "value": None}, "value", "is needed with a rating"),
        ({**CLICK, "event_id": "x" * 513}, "event_id", "512"),
        ({**CLICK, "user_id": None}, "user_id", "anonymous_id"),
        ({**CLICK, "colour": "red"}, "colour", "no such field"),
        ({**CLICK, "v": 2}, "v", "1"),
        ({**SEEN, "item_id": "i1"}, "item_id", "reports on a whole list: give the list's request_id"),
        ({**SEEN, "request_id": None}, "request_id", "is needed"),
        ({"type": "impression", "user_id": "ada"}, "request_id", "is needed"),
        ({"type": "impression", "request_id": "r1"}, "user_id", "is needed, or anonymous_id"),
        ({**SEEN, "positions": []}, "positions", "at least 1"),
        ({**SEEN, "positions": [1, 0]}, "positions.1", "greater than or equal to 1"),
        ({**SEEN, "positions": ["1"]}, "positions.0", "integer"),
        ({**SEEN, "surface": "home"}, "surface", "another system: give its items too"),
        ({**SEEN, "variant": "B"}, "variant", "another system: give its items too"),
        ({**OUTSIDE, "positions": [1]}, "positions", "leave items out"),
        ({**OUTSIDE, "items": []}, "items", "at least 1"),
        ({**OUTSIDE, "items": [{"item_id": "a"}]}, "items.0.rank", "is needed"),
        ({**OUTSIDE, "items": [*OUTSIDE["items"], {"item_id": "a", "rank": 9}]}, "items.2.item_id", "already"),
        ({**OUTSIDE, "items": [*OUTSIDE["items"], {"item_id": "c", "rank": 2}]}, "items.2.rank", "2 is another"),
        ({**OUTSIDE, "variant": None, "revision": None}, "variant", "is needed with an experiment"),
        ({**OUTSIDE, "experiment": None}, "experiment", "is needed with a revision"),
        ({**SEEN, "timestamp": "2099-01-01T00:00:00Z"}, "timestamp", "24 hours ahead"),
        ({**SEEN, "colour": "red"}, "colour", "no such field"),
    ],
    ids=lambda value: str(value)[:60] if not isinstance(value, bytes) else value[:60].decode("latin-1"),
)
def test_bad_input_is_refused_with_the_field_and_the_reason(
    it: Place, body: Any, field: str | None, reason: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()  # orjson writes less than can be sent
    refusal = problem(it.post(content))
    assert refusal.get("field") == field or field is None
    assert reason in refusal["detail"]
    assert it.producer.sent == []
    assert it.post(CLICK).status_code == 202, "the service goes on"


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_its_size(it: Place) -> None:
    huge = b'{"x":"' + b"y" * 5_000_000 + b'"}'
    said = problem(it.post(huge), 413)
    assert (said["field"], "1,048,576 bytes" in said["detail"]) == ("body", True)
    chunks = (huge[n : n + 65_536] for n in range(0, len(huge), 65_536))
    said = problem(it.client.post("/v1/events", content=chunks), 413)
    assert said["field"] == "body"
    assert it.post(CLICK).status_code == 202


def test_too_many_events_at_once_are_refused(it: Place) -> None:
    assert it.post({"events": [CLICK] * 100}).json()["accepted"] == 100
    said = problem(it.post({"events": [CLICK] * 101}), 413)
    assert (said["field"], "101, the limit is 100" in said["detail"]) == ("events", True)


def test_what_is_wrong_in_a_batch_is_named_and_the_rest_is_taken(it: Place) -> None:
    answer = it.post(
        {"events": [{**CLICK, "event_id": "e0"}, {**CLICK, "type": "wave"}, {**CLICK, "event_id": "e2"}, 7]}
    )
    assert answer.status_code == 202
    said = answer.json()
    assert (said["accepted"], said["ids"]) == (2, ["e0", None, "e2", None])
    first, second = said["rejected"]
    assert (first["index"], first["field"]) == (1, "type")
    assert "unknown type" in first["reason"]
    assert (second["index"], second["field"]) == (3, None)
    assert [event["event_id"] for event in it.events()] == ["e0", "e2"]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (b'{"type": "click", "item_id": "i", "user_id": "u", "context": {"title": "cut \\ud83d"}}', "context.title"),
        (b'{"type": "click", "item_id": "i", "user_id": "u", "session_id": "\xf0\x9f\x98"}', "session_id"),
        (b'{"type": "click", "item_id": "i", "user_id": "u", "value": NaN}', "value"),
        (b'{"type": "click", "item_id": "i", "user_id": "u", "value": 1e999}', "value"),
        (b'{"type": "click", "item_id": "i", "user_id": "u", "context": {"\\udc00": 1}}', "context"),
        (b'["half \\ud83d"]', None),
    ],
)
def test_a_batch_loses_only_the_member_that_json_has_no_place_for(it: Place, bad: bytes, field: str | None) -> None:
    good = orjson.dumps({**CLICK, "context": {"emoji": "\U0001f600", "big": 2**62}})
    answer = it.post(b'{"events": [' + b", ".join([good, bad, good]) + b"]}")
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 2
    [refused] = answer.json()["rejected"]
    assert (refused["index"], refused["field"]) == (1, field)
    assert [event["context"]["emoji"] for event in it.events()] == ["\U0001f600"] * 2


def test_a_batch_of_items_loses_only_the_cut_emoji_too(it: Place) -> None:
    body = b'{"items": [{"item_id": "a", "title": "Tent \\ud83d"}, {"item_id": "b", "title": "Stove"}]}'
    for path in ("/v1/items", "/v1/items/availability"):
        answer = it.post(body, path=path).json()
        assert answer["rejected"][0] == {
            "index": 0,
            "field": "title",
            "reason": "is not valid Unicode: half a character is missing",
        }
    assert [item["item_id"] for item in it.producer.values("content")] == ["b"]


@pytest.mark.parametrize("body", [b'{"events": [{}', b'{"events": [], "x": NaN}', b'{"type": "\\ud83d"}', b"[NaN]"])
def test_a_body_whose_members_cannot_be_told_apart_is_refused_as_a_whole(it: Place, body: bytes) -> None:
    assert "is not valid JSON" in problem(it.post(body), 422)["detail"]


def test_a_batch_lies_on_its_topic_in_its_own_order_and_has_one_time(it: Place) -> None:
    items = ["c", "a", "d", "b"]
    it.post({"events": [{**CLICK, "item_id": item} for item in items]})
    assert [event["item_id"] for event in it.events()] == items
    assert len({event["timestamp"] for event in it.events()}) == 1


def test_a_batch_of_nothing_but_refusals_is_itself_refused(it: Place) -> None:
    said = problem(it.post({"events": [{**CLICK, "type": "wave"}, {**CLICK, "event_id": 7}]}), 422)
    assert said["accepted"] == 0
    assert [(one["index"], one["field"]) for one in said["rejected"]] == [(0, "type"), (1, "event_id")]
    assert it.producer.sent == []


def test_a_resend_under_the_same_idempotency_key_has_the_same_ids(it: Place) -> None:
    batch = {"events": [CLICK, CLICK, {**CLICK, "item_id": "i2"}, {**CLICK, "event_id": "own"}]}
    first, again, other = (it.post(batch, idempotency_key=key).json()["ids"] for key in ("k1", "k1", "k2"))
    assert first == again
    assert len(set(first)) == 4
    assert first[3] == other[3] == "own"
    assert set(first) & set(other) == {"own"}
    # As the answer to a 503 asks: only what wasn't acknowledged.
    rest = it.post({"events": batch["events"][2:]}, idempotency_key="k1").json()["ids"]
    assert rest == first[2:]


def test_without_an_idempotency_key_every_event_is_its_own(it: Place) -> None:
    assert it.post(CLICK).json()["ids"] != it.post(CLICK).json()["ids"]


def test_an_overlong_idempotency_key_is_refused(it: Place) -> None:
    assert problem(it.post(CLICK, idempotency_key="k" * 513))["field"] == "idempotency-key"


# -- when the broker can't ---------------------------------------------------------------------------------------------


def test_an_overloaded_broker_means_come_again_and_names_what_was_acknowledged(it: Place) -> None:
    it.producer.refuse, it.producer.room = Overloaded("the queue is full", retry_after=2.3), 1
    answer = it.post({"events": [{**CLICK, "event_id": f"e{n}"} for n in range(3)] + [{"type": "x"}]})
    said = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (said["accepted"], said["acknowledged"]) == (1, ["e0"])
    assert [one["index"] for one in said["rejected"]] == [3]
    assert "the queue is full" in said["detail"]
    assert [event["event_id"] for event in it.events()] == ["e0"]


def test_acknowledged_events_are_named_rightly_behind_a_refused_one(it: Place) -> None:
    it.producer.refuse, it.producer.room = Overloaded("full"), 1
    answer = it.post({"events": [{"type": "x"}, {**CLICK, "event_id": "e1"}, {**CLICK, "event_id": "e2"}]})
    assert answer.json()["acknowledged"] == ["e1"]


def test_a_broker_that_does_not_answer_is_no_acceptance(it: Place) -> None:
    it.producer.delivery = Unavailable("no broker")
    for answer in (it.post(CLICK), it.client.put("/v1/items/a", json={"title": "t"}), it.client.delete("/v1/users/u")):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["acknowledged"] == []


def test_a_record_larger_than_the_broker_takes_is_refused_and_the_rest_is_taken(it: Place) -> None:
    it.producer.refuse, it.producer.room = TooLarge("the record is larger than interactions takes"), 1
    assert it.post({"events": [CLICK, CLICK]}).json()["rejected"] == [
        {"index": 1, "field": None, "reason": "the record is larger than interactions takes"}
    ]
    it.producer.room = 0
    problem(it.post(CLICK), 413)
    problem(it.post({"events": [CLICK, CLICK]}), 422)


def test_a_fault_of_ours_shows_nothing_of_its_inside(it: Place) -> None:
    it.producer.delivery = Misconfigured("topic interactions: not allowed")
    with capture_logs() as logged:
        answer = it.post(CLICK)
    assert [(line["event"], line["path"]) for line in logged] == [("request failed", "/v1/events")]
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "not allowed" not in answer.text
    it.producer.delivery = None
    assert it.post(CLICK).status_code == 202, "on the same connection"


# -- items, availability, people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_id", ODD_IDS)
def test_any_id_can_be_put_and_deleted_percent_encoded(it: Place, item_id: str) -> None:
    path = "/v1/items/" + _encoded(item_id)
    assert it.client.put(path, json={"title": "t"}).json()["ids"] == [item_id]
    assert it.client.put(path, json={"title": "t", "item_id": item_id}).status_code == 202
    assert it.client.delete(path).json()["ids"] == [item_id]
    assert it.client.put("/v1/users/" + _encoded(item_id), json={}).json()["ids"] == [item_id]
    keys = [(sent.topic, sent.key, sent.value is None) for sent in it.producer.sent]
    raw = item_id.encode()
    assert keys == [("content", raw, False), ("content", raw, False), ("content", raw, True), ("users", raw, False)]


def _encoded(name: str) -> str:
    # Clients take `..` and `.` out of a path, encoded or not, so these are sent with their dots encoded.
    return quote(name, safe="").replace(".", "%2E")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/items/%FF", "percent-encoded UTF-8"),
        ("/v1/items/" + "x" * 10_000, "512"),
        ("/v1/items/a%00b", "NUL"),
        ("/v1/items/" + quote("é" * 257), "512 bytes"),
    ],
)
def test_an_id_that_cannot_be_is_refused(it: Place, path: str, reason: str) -> None:
    said = problem(it.client.put(path, json={"title": "t"}))
    assert (said["field"], reason in said["detail"]) == ("item_id", True)


def test_an_items_full_state_goes_to_its_topic_with_the_time_of_arrival(it: Place) -> None:
    state = {"title": "Solaris", "tags": ["space"], "price": 3.5, "attributes": {"year": 1972, "cast": ["a", "b"]}}
    assert it.client.put("/v1/items/solaris", json=state).status_code == 202
    [said] = it.producer.values("content")
    assert said == {"v": 1, "item_id": "solaris", **state, "timestamp": format_timestamp(NOW)}
    assert dict(it.producer.sent[0].headers)["ce_type"] == b"io.eddyline.content.v1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ""}, "title"),
        ({}, "title"),
        ({"title": "t", "item_id": "other"}, "item_id"),
        ([], "body"),
        ({"title": "t", "published_at": "2026"}, "published_at"),
        ({"title": "t", "published_at": -9.9e10}, "published_at"),
        ({"title": "t", "published_at": NOW, "expires_at": NOW}, "expires_at"),
    ],
)
def test_a_wrong_item_is_refused_with_the_field(it: Place, body: Any, field: str | None) -> None:
    assert problem(it.client.put("/v1/items/a", json=body), 422).get("field") == field
    assert it.producer.sent == []


ODD_CLICKS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"dwell_ms": -1}, {}, ["dwell_ms"]),
    ({"dwell_ms": 172_800_000}, {}, ["dwell_ms"]),
    ({"dwell_ms": "long"}, {}, ["dwell_ms"]),
    ({"value": "5"}, {}, ["value"]),
    ({"session_id": "", "request_id": "", "anonymous_id": ""}, {}, []),
    ({"session_id": None, "value": None, "v": None}, {}, ["v"]),
    ({"session_id": 7}, {}, ["session_id"]),
    ({"context": None}, {}, ["context"]),
    ({"context": {"a": None, "b": 1}}, {"context": {"b": 1}}, ["context.a"]),
    ({"context": {"a": [1], "str": {}, "b": "x"}}, {"context": {"b": "x"}}, ["context.a", "context.str"]),
    ({"context": {"page": "x" * 1025}}, {}, ["context.page"]),
    ({"context": {f"{n}": n for n in range(33)}}, {}, ["context"]),
]
ODD_ITEMS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"tags": ["space", "", None, 3]}, {"tags": ["space"]}, ["tags.1", "tags.2", "tags.3"]),
    ({"tags": "space"}, {}, ["tags"]),
    ({"tags": None, "attributes": None}, {}, ["tags", "attributes"]),
    ({"tags": [str(n) for n in range(101)]}, {"tags": [str(n) for n in range(100)]}, ["tags"]),
    ({"available": None}, {}, ["available"]),
    ({"price": -1}, {}, ["price"]),
    ({"price": "dear"}, {}, ["price"]),
    ({"category": "", "description": "", "url": "", "language": "", "published_at": ""}, {}, []),
    ({"category": "&nbsp;"}, {}, ["category"]),
    ({"image_url": "https://example.org/" + "x" * 2048}, {}, ["image_url"]),
    ({"rating": {"value": 9, "count": 1}}, {}, ["rating.value"]),
    ({"attributes": {"a": {"b": 1}, "c": None, "d": 1}}, {"attributes": {"d": 1}}, ["attributes.a"]),
    ({"attributes": {"a": [1, None, 2]}}, {"attributes": {"a": [1, 2]}}, ["attributes.a.1"]),
]


@pytest.mark.parametrize(("odd", "kept", "fields"), ODD_CLICKS)
def test_an_odd_optional_field_never_costs_the_event(
    it: Place, odd: dict[str, Any], kept: dict[str, Any], fields: list[str]
) -> None:
    answer = it.post({"events": [{**CLICK, **odd}]})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    warnings = answer.json().get("warnings", [])
    assert [(one["index"], one["field"]) for one in warnings] == [(0, field) for field in fields]
    assert all(one["reason"].endswith(": left out") for one in warnings)
    [said] = it.producer.values("interactions")
    assert {name: said[name] for name in said if name in odd and name != "v" and said[name]} == kept


@pytest.mark.parametrize(("odd", "kept", "fields"), ODD_ITEMS)
def test_an_odd_optional_field_never_costs_the_item(
    it: Place, odd: dict[str, Any], kept: dict[str, Any], fields: list[str]
) -> None:
    answer = it.client.put("/v1/items/a", json={"title": "t", **odd})
    assert answer.status_code == 202
    assert [one["field"] for one in answer.json().get("warnings", [])] == fields
    [said] = it.producer.values("content")
    assert {name: said[name] for name in said if name in odd and name != "available" and said[name]} == kept


def test_what_is_left_out_is_counted_and_the_warnings_are_bounded(it: Place) -> None:
    def counted() -> list[float]:
        value = it.metrics.registry.get_sample_value
        return [value("eddyline_left_out_total", {"field": field}) or 0.0 for field in ("context", "dwell_ms")]

    click = {**CLICK, "context": {f"c{n}": None for n in range(32)}, "dwell_ms": -1}
    before = counted()
    assert len(it.post({"events": [click] * 5}).json()["warnings"]) == 100
    assert [after - now for after, now in zip(counted(), before, strict=True)] == [160.0, 5.0]


def an_upload(size: int, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{b64encode(bytes(size)).decode()}"


@pytest.mark.parametrize("size", [1, 262_144])
def test_a_picture_is_taken_with_its_item(it: Place, size: int) -> None:
    body = {"title": "t", "image_url": an_upload(size), "description": "d" * 100_000}
    assert it.client.put("/v1/items/a", json=body).status_code == 202
    assert it.producer.values("content")[0]["image_url"] == body["image_url"]
    assert it.producer.sent[0].size < RECORD_BYTES


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (
            an_upload(262_145),
            "262,145 bytes, at most 262,144 .*images.max_upload_bytes.*: send a smaller one, or the add",
        ),
        (an_upload(9, "image/svg+xml"), "give one of image/jpeg, image/png, image/webp, image/gif"),
        (an_upload(9) + "!", "not valid base64"),
        ("data:image/jpeg,abc", "write data:image/jpeg;base64,"),
    ],
)
def test_a_picture_that_cannot_be_taken_is_refused_with_the_way_out(it: Place, address: str, reason: str) -> None:
    said = problem(it.client.put("/v1/items/a", json={"title": "t", "image_url": address}), 422)
    assert said["field"] == "image_url"
    assert re.search(reason, said["detail"])
    assert len(said["detail"]) < 300
    bulk = {"items": [{"item_id": "a", "title": "t", "image_url": address}, {"item_id": "b", "title": "t"}]}
    answer = it.post(bulk, "/v1/items").json()
    assert (answer["ids"], answer["rejected"][0]["field"]) == ([None, "b"], "image_url")
    assert [sent.key for sent in it.producer.sent] == [b"b"]


def test_a_body_with_more_pictures_than_it_may_have_bytes_is_too_large(it: Place) -> None:
    items = [{"item_id": str(n), "title": "t", "image_url": an_upload(262_144)} for n in range(4)]
    assert problem(it.post({"items": items}, "/v1/items"), 413)["field"] == "body"
    assert it.post({"items": items[:2]}, "/v1/items").json()["accepted"] == 2


def test_what_people_and_items_say_of_themselves_is_bounded_in_bytes_as_it_is_passed_on(it: Place) -> None:
    numbers = b",".join([b"1e15"] * 52_350)
    body = b'{"interests":["a","b"],"attributes":{"a":[%s]}}' % numbers
    answer = it.client.put("/v1/users/x", content=body)
    assert problem(answer, 422)["field"] == "attributes"
    assert "bytes as JSON, at most 16,384 are taken" in answer.text
    answer = it.client.put("/v1/items/x", json={"title": "t", "attributes": {"a": ["\x01" * 1000, "x" * 11_000]}})
    assert problem(answer, 422)["field"] == "attributes", "an escape takes six bytes"
    assert it.client.put("/v1/users/x", json={"attributes": {"a": "x" * 16_000}}).status_code == 202


def test_a_context_is_bounded_in_bytes(it: Place) -> None:
    answer = it.post({**CLICK, "context": {f"k{n}": "🎬" * 1024 for n in range(31)}})
    assert [one["field"] for one in answer.json()["warnings"]] == ["context"]
    assert "at most 8,192" in answer.text
    assert it.producer.values("interactions")[0]["context"] == {}
    assert it.post({**CLICK, "context": {f"k{n}": "🎬" * 240 for n in range(8)}}).status_code == 202


def test_items_and_availability_are_taken_in_bulk(it: Place) -> None:
    answer = it.post({"items": [{"item_id": "a", "title": "A"}, {"title": "B"}]}, "/v1/items").json()
    assert (answer["ids"], answer["rejected"][0]["field"]) == (["a", None], "item_id")
    offers = [{"item_id": "a", "available": True, "price": 2}, {"item_id": "b", "available": True, "price": -1}]
    answer = it.post({"items": offers}, "/v1/items/availability").json()
    assert (answer["ids"], answer["rejected"][0]["index"]) == (["a", None], 1)
    offer = {"item_id": "c", "available": False, "price": None}
    assert it.post(offer, "/v1/items/availability").json()["accepted"] == 1
    assert [(sent.topic, sent.key) for sent in it.producer.sent] == [
        ("content", b"a"),
        ("availability", b"a"),
        ("availability", b"c"),
    ]


@pytest.mark.parametrize(("partial", "field"), [({"price": 2}, "available"), ({"available": True}, "price")])
def test_half_of_an_availability_is_refused_saying_why(it: Place, partial: dict[str, Any], field: str) -> None:
    said = problem(it.post({"item_id": "a", **partial}, "/v1/items/availability"), 422)
    assert said["field"] == field
    assert "price and stock replace what was said of both" in said["detail"]
    assert it.producer.sent == []


def test_a_price_that_is_gone_is_said_in_the_record(it: Place) -> None:
    it.post({"item_id": "a", "available": True, "price": None}, "/v1/items/availability")
    [said] = it.producer.values("availability")
    assert said == {"v": 1, "item_id": "a", "available": True, "price": None, "timestamp": format_timestamp(NOW)}


def test_people_are_put_and_erased(it: Place) -> None:
    assert it.client.put("/v1/users/ada", json={"interests": ["space"], "segment": "new"}).status_code == 202
    assert it.client.delete("/v1/users/ada").json() == {"accepted": 1, "rejected": [], "ids": ["ada"]}
    put, erased = it.producer.sent
    assert (put.topic, put.key, erased.value) == ("users", b"ada", None)
    assert it.producer.values("users")[0]["interests"] == ["space"]
    assert problem(it.client.put("/v1/users/ada", json={"interest": "space"}))["field"] == "interest"


# -- the application around it -----------------------------------------------------------------------------------------


def test_what_is_not_there_is_a_problem_too(it: Place) -> None:
    assert "/docs" in problem(it.client.get("/v1/nothing"), 404)["detail"]
    assert "PATCH" in problem(it.client.patch("/v1/items/a", json={}), 405)["detail"]
    assert it.client.patch("/v1/items/a", json={}).headers["allow"]


def test_metrics_count_what_was_taken_and_refused_without_growing_with_the_input(it: Place) -> None:
    it.post({"events": [CLICK, {**CLICK, "type": "wave"}]})
    for n in range(50):
        it.post({**CLICK, f"made-up-{n}": 1})
        it.client.get(f"/made/up/{n}")
    answer = it.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    assert 'eddyline_collector_accepted_total{topic="interactions"}' in text
    assert 'eddyline_collector_rejected_total{field="type"}' in text
    assert 'route="/v1/events"' in text
    assert "made" not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    described = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert all(len(line.split("# HELP ")[0]) for line in lines)
    assert "eddyline_collector_rejected_total" in described


def test_health_and_readiness_name_what_is_not_ready() -> None:
    def down() -> None:
        raise Unavailable("no broker answers at kafka:9092")

    with served(checks={"vectors": lambda: None, "broker": down}) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"vectors": "ok", "broker": "no broker answers at kafka:9092"}
    with served(checks={"vectors": lambda: None}) as client:
        assert client.get("/readyz").status_code == 200


def test_browsers_may_call_from_the_origins_of_the_settings_alone(it: Place) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in it.client.options("/v1/events", headers=asked).headers
    assert "access-control-allow-origin" not in it.post(CLICK, origin="https://shop.example").headers
    collector = Collector(FakeProducer(), EventSettings(), ServerSettings(), Metrics())
    with served(collector.router(), cors_origins=["https://shop.example"]) as client:
        preflight = client.options("/v1/events", headers=asked)
        taken = client.post("/v1/events", json=CLICK, headers={"Origin": "https://shop.example"})
        refused = client.post("/v1/events", content=b"{", headers={"Origin": "https://shop.example"})
        stranger = client.options("/v1/events", headers={**asked, "Origin": "https://evil.example"})
    for answer in (preflight, taken, refused):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert (preflight.status_code, taken.status_code, refused.status_code) == (200, 202, 422)
    assert "access-control-allow-origin" not in stranger.headers


def test_declared_attributes_are_converted_or_refused_by_name() -> None:
    producer, declared = FakeProducer(), {"pages": AttributeKind.INTEGER, "new": AttributeKind.BOOL}
    collector = Collector(producer, EventSettings(), ServerSettings(), Metrics(), attributes=declared)
    items = [{"item_id": "a", "title": "A", "attributes": one} for one in ({"pages": "42", "new": "true"}, {"new": 7})]
    with served(collector.router()) as client:
        answer = client.post("/v1/items", content=orjson.dumps({"items": items})).json()
    assert [item["attributes"] for item in producer.values("content")] == [{"pages": 42, "new": True}]
    assert answer["rejected"] == [
        {
            "index": 1,
            "field": "attributes.new",
            "reason": "must be true or false, as the settings declare it (it is 7)",
        }
    ]


def test_the_documentation_needs_nothing_from_outside(it: Place) -> None:
    page = it.client.get("/docs")
    assert page.status_code == 200
    addresses = [part.split('"')[0] for part in page.text.replace("'", '"').split('"')]
    assets = [name for name in addresses if name.endswith((".js", ".css", ".png"))]
    assert len(assets) >= 2
    for name in assets:
        assert name.startswith("/")
        assert it.client.get(name).status_code == 200
    assert "//cdn" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    problem(it.client.get("/docs/assets/../../app.py"), 404)
    problem(it.client.get("/docs/assets/%2e%2e/%2e%2e/app.py"), 404)


# -- ids that name nobody ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["undefined", "null", "[object Object]", "NaN", " None ", "-1", "ANONYMOUS"])
def test_a_placeholder_is_nobodys_id(it: Place, name: str) -> None:
    events = [
        {"type": "identify", "anonymous_id": "v1", "user_id": name},
        {"type": "identify", "anonymous_id": name, "user_id": "ada"},
        {"type": "click", "user_id": name, "item_id": "a"},
        {"type": "click", "anonymous_id": name, "item_id": "a"},
        {"type": "click", "user_id": "ada", "anonymous_id": name, "item_id": "a"},
        {"type": "impression", "user_id": name, "request_id": "r"},
    ]
    answer = it.post({"events": [*events, {"type": "click", "user_id": "ada", "item_id": name}]}).json()
    assert [one["index"] for one in answer["rejected"]] == list(range(len(events)))
    assert all("events.placeholder_ids" in one["reason"] for one in answer["rejected"])
    assert [one["field"] for one in answer["rejected"]][:2] == ["user_id", "anonymous_id"]
    assert [one["item_id"] for one in it.events()] == [name]
    path = f"/v1/users/{quote(name, safe='')}"
    assert problem(it.client.put(path, json={"interests": ["a"]}), 422)["field"] == "user_id"
    assert it.client.delete(path).status_code == 202


def test_which_ids_are_placeholders_is_a_setting() -> None:
    producer = FakeProducer()
    collector = Collector(producer, EventSettings(placeholder_ids=("Nobody",)), ServerSettings(), Metrics())
    with served(collector.router()) as client:
        for name, status in (("nobody", 422), ("undefined", 202)):
            answer = client.post("/v1/events", json={"type": "click", "user_id": name, "item_id": "a"})
            assert answer.status_code == status


# -- a sender whose clock is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-7200.0, 0.0, 90.0, 400 * 86_400.0])
def test_the_times_of_a_batch_are_corrected_by_as_much_as_its_senders_clock_is_wrong(it: Place, ahead: float) -> None:
    clock = NOW + ahead
    events = [{**CLICK, "timestamp": (clock - 60) * 1000}, {**SEEN, "timestamp": format_timestamp(clock - 5)}, CLICK]
    assert it.post({"events": events, "sent_at": clock * 1000}).json()["accepted"] == 3
    assert [one["timestamp"] for one in it.events()] == [format_timestamp(NOW - 60), format_timestamp(NOW)]
    assert it.producer.values("impressions")[0]["timestamp"] == format_timestamp(NOW - 5)


@pytest.mark.parametrize("wrong", ["yesterday", "2026-01-01T00:00:00", True, []])
def test_a_batch_that_was_sent_at_no_time_is_refused(it: Place, wrong: Any) -> None:
    assert problem(it.post({"events": [CLICK], "sent_at": wrong}), 422)["field"] == "sent_at"
    assert not it.producer.sent


def test_only_a_batch_of_events_says_when_it_was_sent(it: Place) -> None:
    assert problem(it.post({**CLICK, "sent_at": NOW}), 422)["field"] == "sent_at"
    assert problem(it.post({"items": [{"item_id": "i1", "title": "t"}], "sent_at": NOW}, "/v1/items"), 422)
