"""Pictures that come with their items: what is taken for one, and the name that it has."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from eddyline.model.events import Content, LeftOut, validate_event
from eddyline.model.image_urls import ADDRESS_CHARACTERS, is_uploaded_image_name, parse_data_url, stored_image_url

BODY = bytes(range(256))
ENCODED = b64encode(BODY).decode()
ADDRESS = f"data:image/png;base64,{ENCODED}"
NAME = f"data:image/png;sha256={sha256(BODY).hexdigest()}"


def test_a_data_address_is_a_picture_with_a_short_name() -> None:
    upload = parse_data_url(ADDRESS)
    assert upload is not None
    assert (upload.media_type, upload.body, upload.name) == ("image/png", BODY, NAME)
    assert stored_image_url(ADDRESS) == stored_image_url(f"DATA:Image/PNG;BASE64,{ENCODED}") == NAME
    assert is_uploaded_image_name(NAME)
    assert not is_uploaded_image_name(ADDRESS)


def test_a_name_an_address_and_nothing_are_stored_as_they_are() -> None:
    for address in (NAME, "https://pictures.example/data:image", "/data", None):
        assert parse_data_url(address) is None
        assert stored_image_url(address) == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("data:", "write data:image/jpeg;base64,…"),
        ("data:image/png", "write data:image/jpeg;base64,…"),
        ("data:,hello", "write data:image/jpeg;base64,…"),
        ("data:image/png,%89PNG", "write data:image/jpeg;base64,…"),
        (f"data:image/png;charset=utf-8;base64,{ENCODED}", "write data:image/jpeg;base64,…"),
        (f"data:image/png;sha256={'0' * 63}", "write data:image/jpeg;base64,…"),
        (f"data:image/png;sha256={'0' * 64} ", "write data:image/jpeg;base64,…"),
        (f"data:;base64,{ENCODED}", "'no media type' is not a supported picture type: give one of image/jpeg"),
        (f"data:image/svg+xml;base64,{ENCODED}", r"'image/svg\+xml' is not a supported picture type"),
        (f"data:text/html;base64,{ENCODED}", "'text/html' is not a supported picture type"),
        (f"data:{'x' * 5000};base64,{ENCODED}", "'x{60}' is not a supported picture type"),
        ("data:image/png;base64,", "its picture is empty"),
        (f"data:image/png;base64,{ENCODED}\n", "not valid base64"),
        (f"data:image/png;base64, {ENCODED}", "not valid base64"),
        ("data:image/png;base64,QUJD=QUJD", "not valid base64"),
        ("data:image/png;base64,QUI", "not valid base64"),
        ("data:image/png;base64,_-__", "not valid base64"),
        ("data:image/png;base64,QUI%3D", "not valid base64"),
        ("data:image/png;base64,ÄÖÜ", "not valid base64"),
        ("https://pictures.example/" + "x" * 2024, "has 2,049 characters, an address at most 2,048"),
    ],
)
def test_what_is_no_picture_is_refused_saying_why(address: str, reason: str) -> None:
    if len(address) <= ADDRESS_CHARACTERS:  # an item keeps it is; who needs a picture refuses it
        assert validate_event(Content, {"item_id": "a", "title": "t", "image_url": address}).image_url == address
        assert stored_image_url(address) == address
        with pytest.raises(ValueError, match=reason) as why:
            parse_data_url(address)
        assert len(str(why.value)) < 300
        return
    left_out: list[LeftOut] = []
    assert validate_event(Content, {"item_id": "a", "title": "t", "image_url": address}, left_out).image_url is None
    [odd] = left_out
    assert odd.field == "image_url"
    assert re.search(reason, odd.reason)
    assert len(odd.reason) < 300
