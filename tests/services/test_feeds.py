"""Feeds: what is new in them becomes items, once; odd ones lose nothing that can be read."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from tests.support.fakes import NOW, Clock, FakeProducer, record

from eddyline.adapters.kafka import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.web import Fetched
from eddyline.errors import FetchRefused, FetchUnavailable, Unavailable
from eddyline.feeds.entry import parse_availability, parse_date, parse_price
from eddyline.feeds.feed_reader import FeedReader
from eddyline.feeds.feed_state import FeedStatus, FeedView
from eddyline.feeds.formats import parse_feed
from eddyline.feeds.handler import FeedService
from eddyline.model.events import Availability, parse_entity
from eddyline.settings import AttributeKind, FeedSettings

URL = "https://blog.example/feed"


def rss(*items: str, channel: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?><rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/" '
        'xmlns:g="http://base.google.com/ns/1.0" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/">'
        f"<channel><title>Blog</title><link>https://blog.example/</link>{channel}{''.join(items)}</channel></rss>"
    ).encode()


def post(number: int, more: str = "") -> str:
    return f"<item><guid>post-{number}</guid><title>Post {number}</title><link>/posts/{number}</link>{more}</item>"


@dataclass
class Host:
    """Answers as `answer` says, and keeps what was asked."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    moved_to: str | None = None
    failure: Exception | None = None
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def get(
        self, url: str, headers: Mapping[str, str], admit: Callable[[str, int, Mapping[str, str]], bool]
    ) -> Fetched:
        self.asked.append((url, headers))
        if self.failure is not None:
            raise self.failure
        status = 304 if headers.get("If-None-Match", "?") == self.headers.get("etag") else self.status
        body = self.pages.get(url, self.body) if admit("blog.example", status, self.headers) else b""
        return Fetched(status, self.headers, body, url, self.moved_to)


class Inline:
    """An executor that does it at once."""

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class Site:
    """A feed service with everything around it; the topic comes back to its view at once."""

    def __init__(self, **feed: Any) -> None:
        self.feed = FeedSettings.model_validate({"name": "blog", "url": URL, "every": "60s", **feed})
        self.host, self.clock, self.producer, self.metrics = Host(), Clock(), FakeProducer(), Metrics()
        self.restart()

    def restart(self) -> None:
        """Begin anew from what the topic holds."""
        self.view = FeedView([self.feed], 1)
        for number, sent in enumerate(one for one in self.producer.sent if one.topic == "feeds"):
            self.view.apply(record("feeds", sent.key, sent.value, number))
        reader = FeedReader(self.host.get, 1_000_000, self.clock, {"pages": AttributeKind.INTEGER})
        threads: Any = Inline()
        self.service = FeedService(
            self.view, reader, self.producer, threads, self.metrics, lambda: True, self.clock, lambda: 0.5
        )
        self.service.assigned({TopicPartition("feeds", 0): 1})

    def read(self, body: bytes | None = None) -> dict[str, Any]:
        """Read it now; what was written to `content` by id, None for a deletion."""
        if body is not None:
            self.host.body = body
        before = len(self.producer.sent)
        self.clock.forward(max(0.0, self.status.next_at - self.clock()))
        self.service.tick()
        return {
            (one.key or b"").decode(): None if one.value is None else orjson.loads(one.value)
            for one in self.producer.sent[before:]
            if one.topic == "content"
        }

    @property
    def status(self) -> FeedStatus:
        return self.view.status("blog")


def items(body: bytes, **feed: Any) -> dict[str, Any]:
    return Site(**feed).read(body)


def test_what_is_new_or_changed_is_written_once_and_nothing_is_read_twice_after_a_restart() -> None:
    site = Site(category="Blog", tags=["slow"], expires_after="30d")
    first = site.read(rss(post(1), post(2)))
    assert list(first) == ["blog:post-1", "blog:post-2"]
    assert (first["blog:post-1"]["title"], first["blog:post-1"]["url"]) == ("Post 1", "https://blog.example/posts/1")
    assert (first["blog:post-1"]["category"], first["blog:post-1"]["tags"]) == ("Blog", ["slow"])
    assert site.read(rss(post(2), post(1))) == {}
    site.restart()
    assert site.read() == {}
    assert list(site.read(rss(post(3), post(2, "<description>More.</description>")))) == ["blog:post-3", "blog:post-2"]
    assert site.read(rss(post(1))) == {}, "what scrolled off a news feed stays, and isn't new when it comes again"


def test_a_crash_before_the_state_is_written_repeats_the_items_and_loses_none() -> None:
    site = Site()
    site.producer.refuse, site.producer.room = Unavailable("no broker"), 1
    assert list(site.read(rss(post(1)))) == ["blog:post-1"]
    site.producer.refuse = None
    site.restart()
    assert list(site.read()) == ["blog:post-1"]


def test_a_feed_that_has_not_changed_is_asked_for_conditionally() -> None:
    site = Site()
    site.host.headers = {"etag": '"7"', "last-modified": "Wed, 01 Jul 2026 00:00:00 GMT"}
    site.read(rss(post(1)))
    assert site.read() == {}
    _, sent = site.host.asked[-1]
    assert (sent["If-None-Match"], sent["If-Modified-Since"]) == ('"7"', "Wed, 01 Jul 2026 00:00:00 GMT")
    assert site.status.entries == 1


def test_the_interval_grows_while_nothing_changes_and_heeds_what_the_feed_asks_for() -> None:
    site = Site()
    site.read(rss(post(1)))
    intervals = [site.status.interval]
    for _ in range(6):
        site.read()
        intervals.append(site.status.interval)
    assert intervals == [60.0, 90.0, 135.0, 202.5, 303.75, 455.625, 480.0]
    site.read(rss(post(2)))
    assert site.status.interval == 60.0
    site.read(rss(post(3), channel="<ttl>5</ttl>"))
    assert site.status.interval == 300.0
    period = "<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>12</sy:updateFrequency>"
    site.read(rss(post(4), channel=period))
    assert site.status.interval == 300.0


def test_failures_are_backed_off_and_what_the_host_asks_for_is_heeded() -> None:
    site = Site()
    site.host.failure = FetchUnavailable("timeout", "took longer")
    pauses = []
    for _ in range(3):
        site.read()
        pauses.append(site.status.next_at - site.clock())
    assert pauses == [60.0, 120.0, 240.0]
    assert (site.status.failures, site.status.error) == (3, "took longer")
    site.host.failure, site.host.status, site.host.headers = None, 503, {"retry-after": "7200"}
    site.read()
    assert site.status.next_at - site.clock() >= 7200
    site.host.status, site.host.headers = 200, {}
    assert list(site.read(rss(post(1)))) == ["blog:post-1"]
    assert (site.status.failures, site.status.error) == (0, None)


def test_a_permanent_redirect_is_remembered_and_a_feed_that_is_gone_ends() -> None:
    site = Site()
    site.host.moved_to = "https://new.example/feed"
    site.read(rss(post(1)))
    site.read()
    assert [url for url, _ in site.host.asked] == [URL, "https://new.example/feed"]
    site.host.status = 410
    site.read()
    assert site.status.ended
    asked = len(site.host.asked)
    site.clock.forward(1e6)
    site.service.tick()
    assert len(site.host.asked) == asked


def test_only_the_owner_of_its_partition_reads_a_feed() -> None:
    site = Site()
    site.host.body = rss(post(1))
    site.service.revoked([TopicPartition("feeds", 0)])
    site.service.tick()
    assert site.host.asked == []


def product(number: int, price: str = "19.99 USD", stock: str = "in stock") -> str:
    return (
        f"<item><g:id>sku-{number}</g:id><title>Boot &amp;amp; {number}</title><link>/{number}</link>"
        f"<g:price>{price}</g:price><g:availability>{stock}</g:availability><g:brand>Eddy</g:brand>"
        "<g:image_link>/a.jpg</g:image_link><g:product_type>Shoes &gt; Boots</g:product_type></item>"
    )


def test_what_vanishes_from_a_catalogue_is_deleted_but_not_half_of_it_at_once() -> None:
    site = Site()
    first = site.read(rss(product(1, "EUR 1.234,50"), product(2, stock="out_of_stock"), product(3), product(4)))
    assert list(first) == ["sku-1", "sku-2", "sku-3", "sku-4"], "the shop's own ids, as its events have them"
    assert (first["sku-1"]["price"], first["sku-1"]["available"]) == (1234.5, True)
    assert (first["sku-1"]["title"], first["sku-1"]["category"]) == ("Boot & 1", "Shoes")
    assert first["sku-1"]["attributes"] == {"brand": "Eddy"}
    assert (first["sku-2"]["available"], first["sku-2"]["tags"]) == (False, ["Boots"])
    assert site.read(rss(product(1, "EUR 1.234,50"), product(2, stock="out_of_stock"), product(3))) == {"sku-4": None}
    cut = rss(product(1, "EUR 1.234,50"), product(2, stock="out_of_stock"))[:-24]
    assert site.read(cut) == {}, "of a document that was cut off, nothing is known of what it lacks"
    assert site.read(rss(product(3))) == {}, "most of it at once may be a mistake"
    assert site.status.shrunk
    assert site.read() == {"sku-1": None, "sku-2": None}


def test_what_vanishes_may_be_made_unavailable_and_is_back_when_the_feed_has_it_again() -> None:
    site = Site(vanished="unavailable")
    boots = [product(number, stock="perhaps") for number in range(5)]
    site.read(rss(*boots))
    assert site.read(rss(*boots[:4])) == {}, "no item is deleted"
    [sold_out] = [one for one in site.producer.sent if one.topic == "availability"]
    gone = parse_entity(Availability, sold_out.value, NOW + 3600)
    assert (gone.item_id, gone.available, gone.timestamp) == ("sku-4", False, site.clock())
    site.restart()
    assert site.read(rss(*boots[:4])) == {}
    assert sum(one.topic == "availability" for one in site.producer.sent) == 1, "it is said once"
    assert site.read(rss(*boots))["sku-4"]["available"] is True
    assert "available" not in site.read(rss(*boots[:4], product(4, "5 USD", "perhaps")))["sku-4"]


def test_google_merchants_documents_in_other_words() -> None:
    def only(document: bytes) -> Any:
        [item] = items(document).values()
        return item

    shipped = product(1).replace(
        "</item>", "<g:shipping><g:country>SI</g:country><g:price>5 EUR</g:price></g:shipping></item>"
    )
    assert only(rss(shipped))["price"] == 19.99, "not what the sending costs"
    other = rss(product(1)).replace(b"xmlns:g=", b"xmlns:goog=").replace(b"<g:", b"<goog:").replace(b"</g:", b"</goog:")
    assert (only(other)["item_id"], only(other)["price"]) == ("sku-1", 19.99)
    atom = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
        <entry><g:id>sku-1</g:id>
        <g:title>Boots &amp; laces</g:title><g:link>https://s.example/1</g:link>
        <g:price>5 EUR</g:price></entry></feed>"""
    assert (only(atom)["title"], only(atom)["price"]) == ("Boots & laces", 5.0)
    loose = rss(product(1).replace("<link>/1</link>", "<link>/?a=1&b=2</link>").replace("&amp;amp;", "&"))
    assert (only(loose)["title"], only(loose)["url"]) == ("Boot & 1", "https://blog.example/?a=1&b=2")
    bare = rss(product(1)).replace(b' xmlns:g="http://base.google.com/ns/1.0"', b"")
    assert (only(bare)["item_id"], only(bare)["title"]) == ("sku-1", "Boot & 1")


# -- formats -----------------------------------------------------------------------------------------------------------

ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><title>B</title>
<entry><id>tag:x,2026:1</id><title type="html">Ein &lt;b&gt;Brot&lt;/b&gt;</title><link href="brot"/>
<updated>2026-07-01T10:00:00+02:00</updated><author><name>Ada</name></author><category term="Brot"/>
<content type="html">&lt;p&gt;Langsam.&lt;/p&gt;&lt;img src="/b.jpg"&gt;</content></entry></feed>"""
RDF = b"""<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
><channel rdf:about="u"><title>B</title></channel>
<item rdf:about="https://blog.example/r"><title>Old</title><link>https://blog.example/r</link>
<dc:date>2026-07-01</dc:date></item></rdf:RDF>"""
JSON_FEED = orjson.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "B",
        "language": "en",
        "items": [
            {
                "id": 7,
                "content_html": "<p>No title, but a text.</p>",
                "date_published": "2026-07-01T00:00:00Z",
                "tags": ["a"],
            },
            {"id": "8", "title": "Eight", "url": "eight", "image": "https://blog.example/8.png"},
        ],
    }
)
SITEMAP = b"""<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
xmlns:news="http://www.google.com/schemas/sitemap-news/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
<url><loc>https://blog.example/2026/slow-rye-bread.html</loc><lastmod>2026-07-01</lastmod></url>
<url><loc>https://blog.example/n</loc><news:news><news:publication><news:language>en</news:language></news:publication>
<news:publication_date>2026-07-02T00:00:00Z</news:publication_date><news:title>News</news:title>
<news:keywords>bread, rye</news:keywords></news:news><image:image><image:loc>https://blog.example/n.jpg</image:loc>
</image:image></url></urlset>"""
SHOPIFY = orjson.dumps(
    {
        "products": [
            {
                "id": 42,
                "title": "Boots",
                "handle": "boots",
                "body_html": "<p>Warm.</p>",
                "vendor": "Eddy",
                "product_type": "Shoes",
                "tags": ["winter", "sale"],
                "published_at": "2026-07-01T00:00:00-04:00",
                "variants": [{"price": "99.00", "available": False}, {"price": "89.00", "available": True}],
                "images": [{"src": "https://cdn.example/b.jpg"}],
            }
        ]
    }
)


def test_atom() -> None:
    [(item_id, item)] = items(ATOM).items()
    assert (item_id, item["title"], item["url"]) == ("blog:tag:x,2026:1", "Ein Brot", "https://blog.example/brot")
    assert (item["category"], item["language"], item["attributes"]) == ("Brot", "de", {"author": "Ada"})
    assert (item["image_url"], item["published_at"]) == ("https://blog.example/b.jpg", "2026-07-01T08:00:00Z")


def test_rdf() -> None:
    assert items(RDF)["blog:https://blog.example/r"]["published_at"] == "2026-07-01T00:00:00Z"


def test_json_feed() -> None:
    found = items(JSON_FEED)
    assert found["blog:7"]["title"] == "No title, but a text."
    assert (found["blog:8"]["url"], found["blog:8"]["image_url"]) == (
        "https://blog.example/eight",
        "https://blog.example/8.png",
    )


def test_a_sitemap_with_its_extensions() -> None:
    found = items(SITEMAP)
    assert found["blog:https://blog.example/2026/slow-rye-bread.html"]["title"] == "slow rye bread"
    news = found["blog:https://blog.example/n"]
    assert (news["title"], news["tags"], news["language"]) == ("News", ["rye"], "en")
    assert (news["category"], news["image_url"]) == ("bread", "https://blog.example/n.jpg")


def test_an_index_of_sitemaps_is_followed() -> None:
    site = Site()
    site.host.pages = {"https://blog.example/1.xml": gzip.compress(SITEMAP)}
    index = b"<sitemapindex><sitemap><loc>https://blog.example/1.xml</loc></sitemap></sitemapindex>"
    assert len(site.read(index)) == 2


def test_shopifys_products() -> None:
    item = items(SHOPIFY)["42"]
    assert (item["title"], item["price"], item["available"]) == ("Boots", 89.0, True)
    assert (item["url"], item["category"], item["tags"]) == (
        "https://blog.example/products/boots",
        "Shoes",
        ["winter", "sale"],
    )
    assert item["attributes"] == {"brand": "Eddy"}


def test_lines_of_json_and_rows_by_our_own_names() -> None:
    lines = b'{"item_id":"a","title":"A","price":3,"pages":"320"}\n{"id":"b","title":"B","available":false}\nnot json\n'
    found = items(lines)
    assert (found["a"]["price"], found["a"]["attributes"]) == (3.0, {"pages": 320}), "as the settings declare it"
    assert found["b"]["available"] is False
    rows = b"item_id;title;price;tags;pages\na;A;1.234,50;x, y;12\nb;B;;;many\n"
    found = items(rows, format="csv")
    assert (found["a"]["price"], found["a"]["tags"], found["a"]["attributes"]) == (1234.5, ["x", "y"], {"pages": 12})
    assert "b" not in found, "a declared attribute is a contract"


# -- oddities ----------------------------------------------------------------------------------------------------------


def test_the_ten_largest_kinds_of_oddity_lose_nothing_that_can_be_read() -> None:
    future = "Mon, 01 Jan 2091 00:00:00 GMT"
    wrong_dates = rss(post(1, "<pubDate>Yesterday</pubDate>"), post(2, f"<pubDate>{future}</pubDate>"))
    assert [one.get("published_at") for one in items(wrong_dates).values()] == [None, None]
    relative = items(rss("<item><guid>1</guid><title>a</title><link>../a b?x=1</link></item>"))
    assert relative["blog:1"]["url"].startswith("https://blog.example/")
    html = items(
        rss("<item><guid>1</guid><title>&lt;b&gt;Bread&lt;/b&gt; &amp;amp; more &amp;mdash; now</title></item>")
    )
    assert html["blog:1"]["title"] == "Bread & more — now"
    linked = "<item><title>a</title><link>https://b.example/1</link></item>"
    no_ids = items(rss(linked, "<item><title>b</title></item>"))
    assert [one["title"] for one in no_ids.values()] == ["a", "b"]
    assert next(iter(no_ids)) == "blog:https://b.example/1"
    untitled = items(rss("<item><link>https://b.example/slow-rye</link></item>"))
    assert [one["title"] for one in untitled.values()] == ["slow rye"]
    lies = rss("<item><guid>1</guid><title>Café</title></item>").replace(b"utf-8", b"us-ascii", 1)
    assert items(lies)["blog:1"]["title"] == "Café"
    for encoding, said in (("iso-8859-1", "utf-8"), ("utf-16", "utf-8"), ("windows-1252", "iso-8859-1")):
        text = rss("<item><guid>1</guid><title>Café – now</title></item>").decode().replace("–", "-")
        wrong = text.replace("utf-8", said, 1).encode(encoding)
        assert items(wrong)["blog:1"]["title"] == "Café - now", f"{encoding} that says it is {said}"
    assert list(items(rss(post(1), post(2), post(3))[:-35])) == ["blog:post-1", "blog:post-2", "blog:post-3"]
    huge = rss(*(post(n, f"<description>{'x' * 5000}</description>") for n in range(150)))
    assert len(items(huge, max_entries=100)) == 100
    assert items(rss()) == {}
    assert items(rss(post(1), post(1, "<description>older</description>")))["blog:post-1"].get("description") is None
    entities = rss("<item><guid>1</guid><title>Caf&eacute; &nbsp; &#8211; &copy;</title></item>")
    assert items(entities)["blog:1"]["title"] == "Café – ©"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 100,
        b"<html><body>Not found</body></html>",
        b"{",
        b"[1, 2]",
        b'{"items": 3}',
        b"\x1f\x8bno gzip",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><rss><channel>&b;",
        b"<rss><channel><item><title>x" + b"<" * 10_000,
        b"<rss>" + b"<item>" * 5_000,
        b"<urlset><url><loc>http://[</loc></url>",
        rss("<item><guid>1</guid><title>x</title><link>http://[::1</link><pubDate>99999999999999</pubDate></item>"),
        rss('<item><guid>1</guid><title>x</title><enclosure type="image/png" url="javascript:alert(1)"/></item>'),
    ],
)
def test_hostile_documents_are_refused_or_read_and_the_service_goes_on(body: bytes) -> None:
    site = Site()
    site.read(body)
    assert list(site.read(rss(post(1)))) == ["blog:post-1"]


def test_a_page_that_is_no_feed_says_so() -> None:
    with pytest.raises(FetchRefused, match="is no feed that is known"):
        parse_feed(b"<html><body>x</body></html>", {}, URL, "auto", 10, 1000)


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ("19.99 USD", 19.99),
        ("EUR 1.234,50", 1234.5),
        ("1,234.50", 1234.5),
        ("1'234.50 CHF", 1234.5),
        ("12000.0", 12000.0),
        ("1.234", 1.234),
        ("1.234.567", 1234567.0),
        ("12,5", 12.5),
        ("free", None),
        ("-5", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_prices_as_they_are_written(given: Any, price: float | None) -> None:
    assert parse_price(given) == price


def test_dates_of_every_kind() -> None:
    at = 1_767_225_600.0
    texts = ("Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01", "2026-01-01T01:00:00+01:00", "20260101T000000Z")
    for given in (*texts, at, at * 1000):
        assert parse_date(given, NOW) == at
    for wrong in ("", "soon", None, True, -1, 1e300, "0000-00-00", "1970-01-01T00:00:00Z", NOW + 1e7):
        assert parse_date(wrong, NOW) is None


@pytest.mark.parametrize(
    ("word", "available"),
    [("https://schema.org/InStock", True), ("out of stock", False), ("perhaps", None), (None, None), (False, False)],
)
def test_stock_in_every_word(word: Any, available: bool | None) -> None:
    assert parse_availability(word) is available
