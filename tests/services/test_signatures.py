"""What only services write is signed, and nobody else's counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.profiling import Profiling, click
from tests.support.fakes import NOW, record
from tests.support.poison import all_poison

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import INTERNAL_EVENTS, Erased, Exposure, Identify, RecordOrigin
from eddyline.model.events.wire import cloud_event_headers, event_type
from eddyline.model.forwarding import AFTER, AUTHORED, ORIGIN
from eddyline.model.signatures import SIGNATURE, RecordSigner

OLD, NEW, OTHER = ("a secret of the services, " + name for name in ("the old one", "the new one", "of others"))
SIGNER = RecordSigner((OLD,))
KEY, VALUE = b"u:ada", b'{"type": "erased"}'
ORIGINS: dict[str, bytes] = {ORIGIN: b"log:0:7", AFTER: b"6", AUTHORED: b"log:1:3"}
FORWARDED = tuple(ORIGINS.items())
parts = st.binary(max_size=20) | st.none()


@given(parts, parts, parts, parts)
def test_a_signature_holds_for_its_own_key_and_value_alone(
    key: bytes | None, value: bytes | None, other_key: bytes | None, other_value: bytes | None
) -> None:
    headers = SIGNER.signed(key, value, FORWARDED)
    assert SIGNER.trusts(other_key, other_value, headers) == ((other_key, other_value) == (key, value))


@pytest.mark.parametrize("name", ORIGINS)
def test_nor_does_it_hold_where_a_header_of_forwarding_was_changed_or_taken_away(name: str) -> None:
    headers = SIGNER.signed(KEY, VALUE, FORWARDED)
    assert SIGNER.trusts(KEY, VALUE, headers)
    changed = tuple((each, b"log:0:9" if each == name else value) for each, value in headers)
    without = tuple(header for header in headers if header[0] != name)
    assert not SIGNER.trusts(KEY, VALUE, changed)
    assert not SIGNER.trusts(KEY, VALUE, without)


def test_what_tools_add_beside_it_changes_nothing() -> None:
    headers = SIGNER.signed(KEY, VALUE, FORWARDED)
    assert SIGNER.trusts(KEY, VALUE, (("trace", b"1"), *headers))


def test_secrets_are_changed_one_process_after_another() -> None:
    before, meanwhile, after = SIGNER, RecordSigner((NEW, OLD)), RecordSigner((NEW,))
    by_old, by_new = (signer.signed(KEY, VALUE, FORWARDED) for signer in (RecordSigner((OLD, NEW)), meanwhile))
    assert before.trusts(KEY, VALUE, by_old)
    assert meanwhile.trusts(KEY, VALUE, by_old)
    assert meanwhile.trusts(KEY, VALUE, by_new)
    assert after.trusts(KEY, VALUE, by_new)
    assert not after.trusts(KEY, VALUE, by_old)


def test_what_is_signed_again_has_one_signature() -> None:
    twice = SIGNER.signed(KEY, VALUE, SIGNER.signed(KEY, VALUE, FORWARDED))
    assert [name for name, _ in twice].count(SIGNATURE) == 1


def test_only_what_services_alone_write_is_signed() -> None:
    clicked = (("ce_type", event_type("interaction").encode()),)
    assert SIGNER.signed(KEY, VALUE, clicked) == clicked
    for event in INTERNAL_EVENTS:
        headers = cloud_event_headers(event, "1", "somebody")
        assert SIGNER.trusts(KEY, VALUE, SIGNER.signed(KEY, VALUE, headers)), event


def _came(record: Record, signer: RecordSigner | None) -> Record:
    trusted = signer is None or signer.trusts(record.key, record.value, record.headers)
    return replace(record, is_trusted=trusted)


def _forged(user: str) -> list[Any]:
    origin = RecordOrigin(log="users", partition=0, offset=10**9)
    return [
        Erased(user_id=user, timestamp=NOW, origin=origin),
        Erased(anonymous_id="phone", timestamp=NOW),
        Exposure(user_id=user, timestamp=NOW, items=["a"]),
    ]


@pytest.mark.parametrize("signer", [SIGNER, replace(SIGNER, accept_unsigned=True)], ids=["signed", "not-yet"])
def test_an_erasure_that_an_app_forges_erases_nobody(signer: RecordSigner) -> None:
    it = Profiling()
    it.add_items("a", "b")
    it.feed(click(0, "a"))
    for offset, event in enumerate(_forged("ada"), start=1):
        headers = cloud_event_headers(event, str(offset), "embedder")
        for sent_headers in (
            headers,
            RecordSigner((OTHER,)).signed(event.person.key.encode(), event.to_bytes(), headers),
        ):
            came = _came(
                record("interactions", event.person.key, event.to_bytes(), offset, headers=sent_headers), signer
            )
            if signer.accept_unsigned:
                assert it.profiler.parse(came).event == event
            else:
                with pytest.raises(InvalidEvent, match=r"kafka\.signing_secrets"):
                    it.profiler.parse(came)
    it.feed(click(9, "b"))
    assert it.stored().events == 2


def test_an_app_can_neither_forward_nor_hand_over() -> None:
    it = Profiling()
    transfer = next(one for one in all_poison(NOW, "ada", "a") if one.name == "a transfer: another space")
    forged = record("interactions", "u:ada", transfer.value, 1)
    forwarded = replace(click(2, "a"), headers=FORWARDED)
    for one in (forged, forwarded, replace(forwarded, value=b"rubbish")):
        with pytest.raises(InvalidEvent):
            it.profiler.parse(_came(one, SIGNER))


def test_what_the_profiler_sends_to_itself_is_signed() -> None:
    it = Profiling()
    it.add_items("a", "b")
    identify = Identify(anonymous_id="phone", user_id="ada", timestamp=NOW)
    it.feed(
        _visit(0, "a"),
        record("interactions", "a:phone", identify.to_bytes(), 1),
        _visit(2, "b"),
    )
    transferred, forwarded = it.producer.to("interactions")
    for one in (transferred, forwarded):
        assert not SIGNER.trusts(one.key, one.value, one.headers)
        assert SIGNER.trusts(one.key, one.value, SIGNER.signed(one.key, one.value, one.headers))


def _visit(offset: int, item: str) -> Record:
    value = {"type": "click", "anonymous_id": "phone", "item_id": item, "timestamp": NOW}
    return record("interactions", "a:phone", value, offset)
