"""Text is text: what content systems wrap around it is neither embedded nor shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.errors import InvalidEvent
from eddyline.model.events import Content, validate_event
from eddyline.model.filters import Match, parse_filter
from eddyline.model.language import item_language
from eddyline.model.plain_text import plain_line, plain_text
from eddyline.model.text import DEFAULT

BREAD = "Slow rye bread\nBaked on stone."
GUTENBERG = (
    '<!-- wp:heading {"level":3} --><h3 class="wp-block-heading">Slow <em>rye</em> bread</h3><!-- /wp:heading -->'
    "\n\n<!-- wp:paragraph --><p>Baked&nbsp;on stone.</p><!-- /wp:paragraph -->"
)
WRAPPERS = {
    "plain": BREAD,
    "HTML": "<h2>Slow <b>rye</b> bread</h2><p>Baked on&nbsp;stone.",
    "WordPress blocks": GUTENBERG,
    "a page builder's shortcodes": (
        '[vc_row full_width="stretch" css=".a{margin:0 !important;}"][vc_column width="1/2"][vc_column_text]'
        "Slow rye bread[/vc_column_text][vc_raw_html]JTNDYiUzRQ==[/vc_raw_html][et_pb_text]Baked on stone."
        "[/et_pb_text][/vc_column][/vc_row]"
    ),
    "a page builder's boxes": (
        '<div class="elementor-section" data-set=\'{"a":"<p>"}\'><div class="inner"><div>Slow rye bread</div></div>'
        '<div style="width:50%"><span>Baked on stone.</span></div></div>'
    ),
    "escaped once": "&lt;h2&gt;Slow rye bread&lt;/h2&gt;&lt;p&gt;Baked on stone.&lt;/p&gt;",
    "escaped twice": "&amp;lt;p&amp;gt;Slow rye bread&amp;lt;/p&amp;gt;Baked on stone.",
    "CDATA": "<![CDATA[<p>Slow rye bread</p><p>Baked on stone.</p>]]>",
    "scripts and styles": (
        "<style>.x{color:red}</style><p>Slow rye bread</p><script>var p = '<p>no</p>' && 1 < 2;</script>"
        "<p>Baked on stone.</p><iframe src='x'>no frames</iframe><noscript>no scripts</noscript>"
    ),
    "a table": "<table><tr><td>Slow rye</td><td>bread</td></tr><tr><td>Baked on stone.</td></tr></table>",
    "cut off": '<p>Slow rye bread</p><p>Baked on stone.</p><a href="https://exam',
    "never closed": "<div class=x>Slow rye bread<div>Baked on stone.",
    "invisible signs": "\ufeffSlow r\u00adye bread\r\nBaked\u00a0on\u200b stone.\x00",
}


PIECES = [
    *("<p>", "</p>", "<b", ">", "<", "&lt;", "&gt;", "&amp;", "&nbsp;", "<!--", "-->", "[a]", "[/a]", '[a b="c"]'),
    *("<script>", "</script>", "x", " ", "\n", "&#60;", "<![CDATA[", "]]>", "e\u0301", "\x00", "<td>", "/>"),
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_same_text_in_any_wrapper_is_embedded_as_the_same_text(wrapper: str) -> None:
    assert plain_text(WRAPPERS[wrapper]) == BREAD
    item = {"title": "Bread", "description": WRAPPERS[wrapper]}
    assert DEFAULT.parts(item) == ((f"Bread\n{BREAD}", 1.0),)


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "std::vector<int> and Map<String, List<Integer>>",
        "What does the <b> tag do?",
        "I <3 you",
        "AT&T, R&D and ?a=1&copy=2",
        "As he said [sic], see [1] and [link]",
        "C:\\new [draft]",
        "<https://example.com>",
        "<anonymous@example.com>",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert plain_text(text) == text


def test_unicode_is_in_normal_form_c_and_emoji_stay_whole() -> None:
    assert plain_line("Cafe\u0301 👩‍👩‍👧 \ufb01n") == "Café 👩‍👩‍👧 ﬁn"


@pytest.mark.parametrize(
    "text", ["<div>" * 20_000, "<" * 100_000, "[a " * 33_000, "&amp;" * 20_000, "<!--" * 25_000, "<p>[a=" * 16_000]
)
def test_hostile_markup_of_the_largest_size_is_read(text: str) -> None:
    assert len(plain_text(text)) <= len(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_reducing_again_changes_nothing(pieces: list[str]) -> None:
    once = plain_text("".join(pieces))
    assert plain_text(once) == once
    assert plain_line(plain_line(once)) == plain_line(once)


def test_a_title_is_its_text_and_the_description_is_kept_as_it_was_sent() -> None:
    given = {
        "item_id": "cafe\u0301&amp;<b>",
        "title": "<h1>Caf\u0065\u0301 &amp; <b>more</b></h1>",
        "description": GUTENBERG,
        "category": "Bread &amp; Butter",
        "tags": ["<b>new</b>", "R&D"],
    }
    item = validate_event(Content, given)
    assert (item.title, item.category, item.tags) == ("Café & more", "Bread & Butter", ["new", "R&D"])
    assert item.description == GUTENBERG
    assert item.item_id == given["item_id"]
    again = validate_event(Content, item.model_dump(mode="json", exclude_none=True))
    assert again == item


@pytest.mark.parametrize(
    "title", ["   ", "\t\n", "\x00", "\u200b\ufeff", "&nbsp;", "<p></p>", "<script>x</script>", "\u0301"]
)
def test_a_title_without_a_text_is_refused(title: str) -> None:
    with pytest.raises(InvalidEvent, match="has no text") as refused:
        validate_event(Content, {"item_id": "a", "title": title})
    assert refused.value.field == "title"


def test_items_are_found_by_their_categories_and_tags_however_these_are_written() -> None:
    assert parse_filter({"category": "Bread &amp; Butter"}, {}, 0).must == (
        Match("meta.category", ("Bread & Butter",)),
    )
    assert parse_filter({"tag": "cafe\u0301"}, {}, 0).must == (Match("meta.tags", ("café",)),)


def test_language_tags_are_spelt_one_way_in_items_and_filters() -> None:
    assert validate_event(Content, {"item_id": "a", "title": "t", "language": "en_us"}).language == "en-US"
    assert parse_filter({"language": "EN-us"}, {}, 0).must == (Match("language.code", ("en-US",)),)


def test_a_language_is_detected_in_the_text_alone() -> None:
    seen: list[str] = []
    item_language({"title": "Bread", "description": GUTENBERG}, lambda text: seen.append(text))
    assert seen == [f"Bread\n{BREAD}"]
