"""Fetching images: what is hostile is refused by name, what may come right later is told apart."""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.extras import needs
from tests.support.image_hosts import (
    Host,
    bomb,
    declares,
    image_host,
    picture,
    redirects,
    says_nothing,
    sends,
    streams_for_ever,
    trickles_body,
    trickles_headers,
)

from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.web import AddressPolicy, resolve
from eddyline.adapters.web.addresses import Address, why_not_public
from eddyline.errors import FetchRefused, ImageError, ImageRefused, ImageUnavailable
from eddyline.settings import ImageSettings

pytestmark = needs("PIL", "embedder")

HERE = ImageSettings(
    allowed_networks=("127.0.0.1/32",), step_timeout_seconds=0.5, total_timeout_seconds=0.8, max_bytes=1_000_000
)
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


@pytest.fixture
def host() -> Iterator[Host]:
    answers = {f"/{form}": sends(picture(form=form), kind) for form, kind in TYPES.items()}
    answers |= {
        "/2gb": declares(2 * 1024**3),
        "/endless": streams_for_ever,
        "/loop": redirects("/loop"),
        "/once": redirects("/PNG"),
        "/metadata": redirects("http://169.254.169.254/latest/meta-data/"),
        "/file": redirects("file:///etc/passwd"),
        "/page": sends(b"<html>", "text/html"),
        "/vector": sends(b"<svg/>", "image/svg+xml"),
        "/slow-headers": trickles_headers,
        "/slow-body": trickles_body,
        "/silent": says_nothing,
        "/gone": sends(b"", "text/plain", 404),
        "/busy": sends(b"", "text/plain", 429),
        "/broken": sends(b"", "text/plain", 503),
        "/packed": lambda r: r.begin(Content_Type="image/png", Content_Encoding="gzip", Content_Length="0"),
        "/cut": declares(999),
    }
    with image_host(answers) as running:
        yield running


def failure(url: str, settings: ImageSettings = HERE, resolver: Any = resolve) -> ImageError:
    with pytest.raises(ImageError) as caught:
        ImageFetcher(settings, resolver).fetch(url)
    return caught.value


@pytest.mark.parametrize("form", TYPES)
def test_an_image_is_fetched_and_decoded(form: str, host: Host) -> None:
    image = ImageDecoder(1_000_000).decode(ImageFetcher(HERE).fetch(host.url(f"/{form}")))
    assert (image.mode, image.size) == ("RGB", (32, 32))
    red, green, blue = image.getpixel((16, 16))
    assert red > 240
    assert max(green, blue) < 15


def test_a_redirect_is_followed(host: Host) -> None:
    assert ImageFetcher(HERE).fetch(host.url("/once")) == picture()


@pytest.mark.parametrize(
    ("url", "reason", "says"),
    [
        ("file:///etc/passwd", "scheme", "'file'"),
        ("ftp://example.com/a.png", "scheme", "'ftp'"),
        ("data:image/png;base64,AAAA", "scheme", "http or https"),
        ("picture.png", "scheme", "http or https"),
        ("http:///a.png", "url", "no host"),
        ("http://exa\x00mple/", "url", "valid"),
        ("http://example.com/" + "a" * 2048, "url", "2048"),
        ("http://me:secret@example.com/a.png", "userinfo", "leave them out"),
        ("http://169.254.169.254/latest/meta-data/", "private_address", "link-local.*images.allowed_networks"),
        ("http://127.0.0.2/", "private_address", "loopback"),
        ("http://2130706434/", "private_address", "loopback"),
        ("http://0x7f.2/", "private_address", "loopback"),
        ("http://[::1]/", "private_address", "loopback"),
        ("http://[::ffff:10.0.0.1]/", "private_address", "private:"),
    ],
)
def test_a_hostile_url_is_refused_by_name(url: str, reason: str, says: str) -> None:
    error = failure(url)
    assert isinstance(error, ImageRefused)
    assert error.reason == reason
    assert "secret" not in str(error)
    with pytest.raises(ImageRefused, match=says):
        raise error


@pytest.mark.parametrize(
    ("path", "reason", "says"),
    [
        ("/2gb", "too_large", r"declares 2,147,483,648 bytes.*images\.max_bytes"),
        ("/endless", "too_large", r"sends more than 1,000,000 bytes.*images\.max_bytes"),
        ("/loop", "redirects", "more than 3"),
        ("/metadata", "private_address", r"169\.254\.169\.254.*link-local"),
        ("/file", "scheme", "'file'"),
        ("/page", "content_type", "text/html.*image/jpeg"),
        ("/vector", "content_type", "svg"),
        ("/packed", "content_encoding", "gzip"),
        ("/gone", "status", "404"),
    ],
)
def test_a_hostile_answer_is_refused_by_name(path: str, reason: str, says: str, host: Host) -> None:
    error = failure(host.url(path))
    assert isinstance(error, ImageRefused)
    assert error.reason == reason
    with pytest.raises(ImageRefused, match=says):
        raise error


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/slow-headers", "timeout"),
        ("/slow-body", "timeout"),
        ("/silent", "timeout"),
        ("/busy", "status"),
        ("/broken", "status"),
        ("/cut", "broken_answer"),
    ],
)
def test_what_may_come_right_later_is_told_apart(path: str, reason: str, host: Host) -> None:
    error = failure(host.url(path))
    assert isinstance(error, ImageUnavailable)
    assert error.reason == reason


def test_a_host_that_is_down_may_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}/")
    assert isinstance(error, ImageUnavailable)
    assert error.reason == "unreachable"


def test_an_endless_redirect_is_asked_four_times_at_most(host: Host) -> None:
    failure(host.url("/loop"))
    assert host.asked == ["/loop"] * 4


class Names:
    """A resolver that gives other addresses each time it is asked: DNS rebinding."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = [[ip_address(one) for one in answer] for answer in answers]
        self.asked = 0

    def __call__(self, name: str, port: int, seconds: float) -> list[Address]:
        self.asked += 1
        return list(self._answers[min(self.asked, len(self._answers)) - 1])


def test_the_connection_goes_to_the_address_that_was_checked_under_the_hosts_name(host: Host) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])  # asked again, it would point elsewhere
    assert ImageFetcher(HERE, names).fetch(host.url("/PNG", "pictures.example")) == picture()
    assert names.asked == 1
    assert host.names == [f"pictures.example:{host.port}"]


def test_a_redirect_resolves_and_checks_anew(host: Host) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.7"])
    error = failure(host.url("/once", "pictures.example"), resolver=names)
    assert error.reason == "private_address"
    assert host.asked == ["/once"]


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    error = failure("http://pictures.example/", resolver=Names(["93.184.216.34", "192.168.0.1"]))
    assert error.reason == "private_address"
    assert "private" in str(error)
    assert "192.168.0.1" not in str(error), "the sender of the item would learn where our names lead"


def test_an_address_that_does_not_answer_gives_way_to_the_next(host: Host) -> None:
    settings = HERE.model_copy(update={"allowed_networks": ("127.0.0.0/8",)})
    names = Names(["127.0.0.3", "127.0.0.1"])
    assert ImageFetcher(settings, names).fetch(host.url("/PNG", "pictures.example")) == picture()


def test_an_allowed_host_may_be_internal() -> None:
    AddressPolicy(hosts=["Images.Internal"]).check("images.internal", [ip_address("10.0.0.1")])
    with pytest.raises(FetchRefused, match="private"):
        AddressPolicy(hosts=["images.internal"]).check("other.internal", [ip_address("10.0.0.1")])


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("100.100.100.200", "carrier-grade NAT"),
        ("168.63.129.16", "a cloud's own service"),
        ("0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "private"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("::ffff:169.254.169.254", "link-local (169.254.169.254)"),
        ("::127.0.0.1", "loopback (127.0.0.1)"),
        ("64:ff9b::a00:1", "private (10.0.0.1)"),
        ("64:ff9b:1::1", "locally translated"),
        ("2002:7f00:1::", "loopback (127.0.0.1)"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "private (192.0.2.45)"),
        ("93.184.216.34", None),
        ("2606:2800:220:1:248:1893:25c8:1946", None),
        ("64:ff9b::5db8:d822", None),
        ("2002:5db8:d822::1", None),
    ],
)
def test_an_address_is_public_or_of_a_kind(address: str, kind: str | None) -> None:
    assert why_not_public(ip_address(address)) == kind


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (10_000, 9_000), (65_535, 65_535)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(ImageRefused, match=r"pixels.*images\.max_pixels") as caught:
        ImageDecoder(1_000_000).decode(bomb(width, height))
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.parametrize("size", [(1, 1), (4, 300), (300, 7)])
def test_what_is_too_small_to_be_a_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageRefused, match="at least 8 a side") as caught:
        ImageDecoder(1_000_000).decode(picture(size=size))
    assert caught.value.reason == "too_small"


@pytest.mark.parametrize("body", [b"", b"GIF89a", b"<html>", picture(size=(300, 300))[:-60], bomb(30, 30)])
def test_a_damaged_image_is_refused(body: bytes) -> None:
    with pytest.raises(ImageRefused) as caught:
        ImageDecoder(1_000_000).decode(body)
    assert caught.value.reason == "damaged"


def test_what_is_cut_out_lies_on_white_and_large_images_come_reduced() -> None:
    images: Any = import_module("PIL.Image")
    file = io.BytesIO()
    images.new("RGBA", (1400, 1000), (0, 0, 0, 0)).save(file, "PNG")
    image = ImageDecoder(2_000_000).decode(file.getvalue())
    assert image.getpixel((5, 5)) == (255, 255, 255)
    assert image.size == (700, 500)


def test_a_network_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"allowed_networks(.|\n)*10\.0\.0\.300"):
        ImageSettings(allowed_networks=("10.0.0.300/8",))


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with a certificate for `pictures.example`, which is trusted here."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = "pictures.example"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with image_host({"/": sends(picture())}, context) as running:
        yield running


def test_a_certificate_is_checked_against_the_hosts_name_not_its_address(secure: Host) -> None:
    fetcher = ImageFetcher(HERE, Names(["127.0.0.1"]))
    assert fetcher.fetch(f"https://pictures.example:{secure.port}/") == picture()
    with pytest.raises(ImageRefused, match=r"other\.example has no valid certificate") as caught:
        fetcher.fetch(f"https://other.example:{secure.port}/")
    assert caught.value.reason == "certificate"
