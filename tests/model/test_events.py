"""Events: what is accepted, and how a refusal reads."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest

from eddyline.errors import InvalidEvent
from eddyline.model import events
from eddyline.model.events import (
    Activity,
    Availability,
    Content,
    ImpressionReport,
    Interaction,
    LeftOut,
    ServedList,
    User,
    activity_bytes,
    clamp_event_time,
    interaction_weight,
    pack_dimensions,
    parse_entity,
    parse_event,
    parse_impression,
    validate_event,
)
from eddyline.model.ids import Person, item_dimension
from eddyline.settings import EventSettings

NOW = 1_790_000_000.0
GOOD = '{"type":"click","item_id":"i","user_id":"u"%s}'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"2026-03-01T12:00:00Z"', 1772366400.0),
        ('"2026-03-01T13:00:00+01:00"', 1772366400.0),
        ("1772366400", 1772366400.0),
        ("1772366400.5", 1772366400.5),
        ("1772366400500", 1772366400.5),
        ('"1950-01-01T00:00:00Z"', -631152000.0),
    ],
)
def test_a_timestamp_is_rfc_3339_or_an_epoch_number(text: str, seconds: float) -> None:
    event = parse_event(Interaction, (GOOD % f',"timestamp":{text}').encode())
    assert event.timestamp == seconds
    assert parse_event(Interaction, event.to_bytes()) == event


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b"{", None, "not valid JSON"),
        (b"\xff\xfe", None, "not valid JSON"),
        (b"[1]", None, "must be a JSON object, not a list"),
        (b"null", None, "must be a JSON object, not null"),
        ((GOOD % ',"timestamp":1e300').encode(), "timestamp", "beyond the year 9999"),
        (b'{"type":"click","item_id":"","user_id":"u"}', "item_id", "at least 1"),
    ],
)
def test_a_refusal_names_the_field_and_the_reason(data: bytes, field: str | None, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(Interaction, data)
    assert refused.value.field == field
    assert reason in refused.value.reason


def test_a_field_inside_a_list_is_named_by_its_place() -> None:
    left_out: list[LeftOut] = []
    assert parse_event(Content, b'{"item_id":"i","title":"t","tags":["a",3]}', left_out).tags == ["a"]
    assert [one.field for one in left_out] == ["tags.1"]


def test_an_item_that_expires_before_it_is_published_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="expires_at: must be after"):
        parse_event(Content, b'{"item_id":"i","title":"t","published_at":20,"expires_at":10}')


def content(**fields: object) -> Content:
    return parse_event(Content, orjson.dumps({"item_id": "i", "title": "t", **fields}))


def test_a_rating_has_a_scale_that_ends_at_five_unless_it_says_otherwise() -> None:
    rated = content(rating={"value": 4, "count": 12}).rating
    assert rated is not None
    assert (rated.value, rated.count, rated.scale, rated.least) == (4.0, 12, 5.0, 0.0)
    film = content(rating={"value": 7.9, "count": 12_000, "scale": 10, "least": 1})
    assert parse_event(Content, film.to_bytes()) == film
    assert content(rating={"value": 0, "count": 0, "least": 1}).rating, "nobody rated it"


@pytest.mark.parametrize(
    ("rating", "field", "reason"),
    [
        ({"value": 7.9, "count": 12_000}, "rating.value", "must be within 0 and 5, it is 7.9: give the best"),
        ({"value": 0.5, "count": 1, "least": 1}, "rating.value", "must be within 1 and 5, it is 0.5"),
        ({"value": 3, "count": 1, "scale": 2, "least": 2}, "rating.scale", "must be above least"),
        ({"value": 3}, "rating.count", "is needed"),
        ({"count": 3}, "rating.value", "is needed"),
        ({"value": 3, "count": -1}, "rating.count", "greater than or equal to 0"),
        ({"value": 3, "count": 1.5}, "rating.count", "integer"),
        ({"value": 3, "count": 1, "stars": 5}, "rating.stars", "no such field"),
        (4.5, "rating", ""),
    ],
)
def test_a_wrong_rating_says_where_and_what(rating: object, field: str, reason: str) -> None:
    left_out: list[LeftOut] = []
    assert validate_event(Content, {"item_id": "i", "title": "t", "rating": rating}, left_out).rating is None
    assert left_out[0].field == field
    assert reason in left_out[0].reason


def test_a_language_that_was_detected_is_not_taken_for_said() -> None:
    """As GET gives it and PUT takes it back."""
    taken_back = content(detected_language="de")
    assert taken_back.language is None
    assert taken_back.to_bytes() == content().to_bytes()
    assert content(language="nl", detected_language="de").language == "nl", "who corrects it is heard"
    assert content(detected_language=True).to_bytes() == content().to_bytes()


def test_a_little_ahead_is_clamped_and_far_ahead_is_refused() -> None:
    assert clamp_event_time(NOW + 3600, NOW) == NOW
    assert clamp_event_time(NOW - 5, NOW) == NOW - 5
    assert clamp_event_time(None, NOW) == NOW
    with pytest.raises(InvalidEvent, match="24 hours ahead"):
        clamp_event_time(NOW + 90_000, NOW)
    with pytest.raises(InvalidEvent, match="before 1970"):
        clamp_event_time(-1.0, NOW)


def interaction(**fields: object) -> Interaction:
    return Interaction.model_validate({"item_id": "i", "user_id": "u", **fields})


def test_ratings_weigh_by_their_distance_from_the_neutral_one() -> None:
    settings = EventSettings(rating_neutral=3.0, rating_scale=2.0)
    assert interaction_weight(interaction(type="rating", value=5.0), settings) == 4.0
    assert interaction_weight(interaction(type="rating", value=3.0), settings) == 0.0
    assert interaction_weight(interaction(type="rating", value=1.0), settings) == -4.0


def test_dwell_raises_or_lowers_a_view_within_bounds() -> None:
    settings = EventSettings(dwell_seconds=10.0)
    weights = [interaction_weight(interaction(type="view", dwell_ms=ms), settings) for ms in (0.0, 10_000.0, 1e6)]
    assert weights == [0.25, 1.0, 2.0]
    assert interaction_weight(interaction(type="view"), settings) == 1.0
    assert interaction_weight(interaction(type="purchase", dwell_ms=1e6), settings) == 5.0


def test_an_unknown_type_is_refused_and_a_configured_one_is_not() -> None:
    with pytest.raises(InvalidEvent, match=r"unknown type 'nod'.*events\.weights"):
        interaction_weight(interaction(type="nod"), EventSettings())
    assert interaction_weight(interaction(type="nod"), EventSettings(weights={"nod": 0.5})) == 0.5
    assert interaction_weight(interaction(type="like"), EventSettings(weights={"nod": 0.5})) == 3.0


def test_timestamps_survive_a_round_trip_to_the_microsecond() -> None:
    for seconds in (0.0, 1772366400.123456, 4_102_444_800.999999, -631152000.0):
        assert math.isclose(events.parse_timestamp(events.format_timestamp(seconds)), seconds, rel_tol=0, abs_tol=1e-6)


def test_what_is_written_is_what_was_read() -> None:
    user = User(user_id="ü", interests=["space"], attributes={"age": 30, "langs": ["en", "de"], "vip": True})
    assert parse_event(User, user.to_bytes()) == user


LIST = '{"request_id":"r","user_id":"u","items":[{"item_id":"i","rank":1}],"timestamp":1772366400%s}'
SEEN = '{"type":"impression","request_id":"r","user_id":"u"%s}'


@pytest.mark.parametrize("position", [None, 0, 2])
@pytest.mark.parametrize("recents", [[], ["b", 'é " \\']])
@pytest.mark.parametrize("weight", [1.0, 0.3, 1e-7])
@pytest.mark.parametrize("timestamp", [0.0, NOW, NOW + 0.123456])
def test_an_activity_is_written_as_its_model_would(
    position: int | None, recents: list[str], weight: float, timestamp: float
) -> None:
    packed = pack_dimensions(recents)
    activity = Activity(
        item_id="a/ü", recents=packed, position=position, weight=weight, timestamp=timestamp, source="log:0:1"
    )
    written = activity_bytes("a/ü", packed, weight, timestamp, "log:0:1", position)
    assert written == activity.to_bytes()
    read = parse_event(Activity, written)
    assert read.dimensions.tolist() == [item_dimension(recent) for recent in recents]


def test_an_activity_that_names_its_recents_as_they_once_were_teaches_the_same() -> None:
    names = [f"item {number}" for number in range(100)]
    fields = {"item_id": "a", "weight": 1.0, "timestamp": NOW, "source": "log:0:1"}
    former = parse_event(Activity, orjson.dumps({**fields, "recents": names}))
    packed = parse_event(Activity, orjson.dumps({**fields, "recents": pack_dimensions(names)}))
    assert packed.dimensions.tolist() == former.dimensions.tolist()
    assert former.dimensions.dtype == packed.dimensions.dtype == np.uint32


def test_what_was_served_and_what_was_seen_share_a_topic() -> None:
    served, seen = parse_impression((LIST % "").encode()), parse_impression((SEEN % ',"positions":[2,1,2]').encode())
    assert isinstance(served, ServedList)
    assert isinstance(seen, ImpressionReport)
    assert seen.positions == [1, 2], "a position that was seen twice was seen"
    assert (served.person, seen.person) == (Person("u", "u"), Person("u", "u"))
    for one in (served, seen):
        assert parse_impression(one.to_bytes()) == one


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b"{", None, "not valid JSON"),
        (b"[1]", None, "must be a JSON object"),
        (b'{"type":["impression"]}', "type", "'served' or 'impression'"),
        ((LIST % ',"type":"shown"').encode(), "type", "'served' or 'impression'"),
        ((LIST % ',"positions":[1]').encode(), "positions", "no such field"),
        (LIST.replace('"rank":1', '"rank":1001').replace("%s", "").encode(), "items.0.rank", "1000"),
        ((SEEN % ',"item_id":"i"').encode(), "item_id", "reports on a whole list: give the list's request_id"),
        ((SEEN % ',"positions":[1,1001]').encode(), "positions.1", "1000"),
        ((SEEN % ',"strategy":"mine"').encode(), "strategy", "another system"),
        ((SEEN % ',"items":[{"item_id":"i","rank":1}],"positions":[1]').encode(), "positions", "leave items out"),
        (
            (SEEN % ',"items":[{"item_id":"i","rank":1},{"item_id":"i","rank":2}]').encode(),
            "items.1.item_id",
            "already",
        ),
    ],
)
def test_a_wrong_impression_is_refused_with_the_field(data: bytes, field: str | None, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_impression(data)
    assert refused.value.field == field
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1700000000", 1_700_000_000.0), ("1700000000250", 1_700_000_000.25), ("2023-11-14T22:13:20Z", 1_700_000_000.0)],
)
def test_a_time_in_a_text_is_rfc_3339_or_epoch(text: str, seconds: float) -> None:
    assert events.parse_timestamp_text(text) == seconds


END_OF_TIME = "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    "never",
    [
        '"9999-12-31T23:59:59.9999999Z"',  # .NET's DateTime.MaxValue, SQL Server's datetime2
        '"9999-12-31T23:59:59.9999999-08:00"',
        '"9999-12-31T23:59:59.999999+00:00"',  # Python's datetime.max
        '"+1000000000-12-31T23:59:59.999999999Z"',  # Java's Instant.MAX
        '"+275760-09-13T00:00:00.000Z"',  # JavaScript's last Date
        '"infinity"',  # PostgreSQL's
        "9223372036854775807",  # Java's Long.MAX_VALUE
        "8640000000000000",
        "253402300799999",
    ],
)
def test_what_programs_write_for_never_is_the_end_of_the_year_9999(never: str) -> None:
    event = parse_event(Content, f'{{"item_id":"i","title":"t","expires_at":{never}}}'.encode())
    assert event.model_dump(mode="json")["expires_at"] == END_OF_TIME
    assert parse_event(Content, event.to_bytes()) == event


@pytest.mark.parametrize("never", ['"0001-01-01T00:00:00Z"', '"0001-01-01T00:00:00+02:00"', "-62135596800000"])
def test_the_first_time_of_dot_net_is_a_time(never: str) -> None:
    event = parse_event(Content, f'{{"item_id":"i","title":"t","published_at":{never}}}'.encode())
    assert event.model_dump(mode="json")["published_at"] == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize("year", [1, 1950, 2026, 5139, 6000, 9999])
def test_a_time_is_parsed_once_and_stays_epoch_seconds(year: int) -> None:
    text = f"{year:04}-07-01T00:00:00Z"
    event = parse_event(Content, f'{{"item_id":"i","title":"t","published_at":"{text}"}}'.encode())
    again = Content(**event.model_dump(mode="python"))
    assert again.model_dump(mode="json")["published_at"] == text


def test_a_state_from_the_future_is_clamped_or_refused_as_an_event_is() -> None:
    value = '{"item_id":"i","available":true,"price":1,"timestamp":%s}'
    a_little = parse_entity(Availability, (value % (NOW + 3600)).encode(), NOW)
    assert a_little.timestamp == NOW
    assert parse_entity(Availability, (value % (NOW - 3600)).encode(), NOW).timestamp == NOW - 3600
    assert parse_entity(Availability, (value % "null").encode(), NOW).timestamp == NOW
    for timestamp in (f'"{END_OF_TIME}"', NOW + 2 * 86_400, -1):
        with pytest.raises(InvalidEvent) as refused:
            parse_entity(Availability, (value % timestamp).encode(), NOW)
        assert refused.value.field == "timestamp"


@pytest.mark.parametrize("text", ["yesterday", "2023-11-14T22:13:20", "nan", "1e300"])
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|offset|year"):
        events.parse_timestamp_text(text)
