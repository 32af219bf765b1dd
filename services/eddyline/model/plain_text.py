"""The text that a title or a description says, without the markup that content systems keep it in.

What is reduced: HTML (also escaped once more, as feeds have it), the comments and shortcodes of WordPress and of page
builders, entities. A text is taken for HTML only by what hardly occurs otherwise: a closing tag, an attribute, a
comment; `vector<int>`, `a < b` and `the <b> tag` stay as they are. Reducing what was reduced changes nothing, so that
an item can be read and sent back.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from lxml import etree


def _elements(names: str) -> frozenset[str]:
    return frozenset(names.split())


_BLOCKS = _elements(
    "address article aside blockquote body br caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr html legend li main nav ol option p pre section summary table tbody tfoot "
    "thead tr ul"
)
"""Elements that stand on lines of their own."""
_CELLS = frozenset({"td", "th"})
_SILENT = _elements(
    "applet audio canvas embed frame frameset head iframe map math noembed noframes noscript object script select "
    "style svg template textarea title video"
)
"""Elements whose content nobody reads as text."""
_INLINE = _elements(
    "a abbr acronym b bdi bdo big button cite code data del dfn em font i img input ins kbd label mark meter nobr "
    "output picture progress q rp rt ruby s samp small source span strike strong sub sup time tt u var wbr"
)
_VOID = frozenset({"br", "hr", "img", "p", "wbr"})
"""Elements that hardly anyone closes, so that their opening tag alone shows that a text is HTML."""
_OTHERS = frozenset({"base", "col", "colgroup", "link", "meta", "param", "track", "area"})
_NAMES = _BLOCKS | _CELLS | _SILENT | _INLINE | _OTHERS

_TAG = re.compile(r"<(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]{0,11})(?P<rest>[\s/>][^<>]{0,2000})?")
_NO_TAG = re.compile(rf"<(?!/?(?:{'|'.join(sorted(_NAMES))})[\s/>]|!--|!doctype\b)", re.IGNORECASE)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_SHORTCODE = re.compile(r"\[(?P<close>/?)(?P<name>[a-zA-Z][\w-]{0,40})(?P<rest>[\s=/][^\[\]]{0,4000})?\]")
_ENCODED = re.compile(r"\[(vc_raw_html|vc_raw_js)\b[^\]]*\].*?(?:\[/\1\]|\Z)", re.DOTALL | re.IGNORECASE)
"""Shortcodes whose content is code, in base64."""
_BUILDERS = ("vc_", "et_pb_", "fusion_", "av_", "fl_", "mk_", "nectar_", "wpb_")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphens, zero-width spaces and byte order marks: they tear words apart. (Joiners make letters and emoji.)"""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Mn", "Me", "Zl", "Zp", "Zs"})
_MAX_LAYERS = 8
"""How often a text may have been escaped."""


@lru_cache(maxsize=1024)
def plain_text(text: str) -> str:
    """Return what a text says, in Unicode's normal form C: lines without the space around them, blocks each on one."""
    for _ in range(_MAX_LAYERS):
        reduced = _without_layer(text)
        if reduced == text:
            break
        text = reduced
    return text


def plain_line(text: str) -> str:
    """Return what a text says, in one line.

    >>> plain_line("<p>Bread&nbsp;&amp; <b>butter</b></p>")
    'Bread & butter'
    """
    return " ".join(plain_text(text).split())


def says_something(line: str) -> bool:
    """Tell whether a text has anything to be seen: a letter, a digit, a sign."""
    return any(unicodedata.category(character) not in _UNSEEN for character in line)


def _without_layer(text: str) -> str:
    text = _without_shortcodes(_CDATA.sub(r"\1", text))
    text = "".join(_texts(text)) if is_html(text) else _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub("", _CONTROLS.sub(" ", text))
    return unicodedata.normalize("NFC", _LINES.sub("\n", _SPACES.sub(" ", text)).strip())


def is_html(text: str) -> bool:
    """Tell whether a text is HTML rather than one that has signs of it."""
    if "<" not in text:
        return False
    if "<!--" in text or "<!doctype" in text[:200].lower():
        return True
    for tag in _TAG.finditer(text):
        name, rest = tag["name"].lower(), (tag["rest"] or "").strip()
        if name in _NAMES and rest and (tag["close"] or name in _VOID or "=" in rest or rest.startswith("/")):
            return True
    return False


def _texts(text: str) -> Iterator[str]:
    """Read HTML. What isn't a tag of HTML's is text."""
    reader = _TextReader()
    parser = etree.HTMLParser(target=reader, huge_tree=True, remove_pis=True)
    parser.feed(f"<body>{_NO_TAG.sub('&lt;', text)}")
    yield from parser.close()


class _TextReader:
    """Takes what the parser reads, and keeps what a person would."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._silent = 0

    def start(self, name: str, attributes: object) -> None:  # noqa: ARG002 (the parser's signature)
        if name in _SILENT:
            self._silent += 1
        self._texts.append(_space_around(name))

    def end(self, name: str) -> None:
        if name in _SILENT:
            self._silent -= 1
        self._texts.append(_space_around(name))

    def data(self, text: str) -> None:
        if not self._silent:
            self._texts.append(_SPACES.sub(" ", text.replace("\n", " ")))

    def comment(self, text: str) -> None:
        """Skip it."""

    def close(self) -> list[str]:
        return self._texts


def _space_around(name: str) -> str:
    if name in _BLOCKS:
        return "\n"
    return " " if name in _CELLS else ""


def _without_shortcodes(text: str) -> str:
    """Drop `[vc_row css="…"]`, `[/vc_row]` and the like; `[sic]` and `[1]` stay."""
    if "[" not in text:
        return text
    text = _ENCODED.sub(" ", text)
    closed = {code["name"].lower() for code in _SHORTCODE.finditer(text) if code["close"]}

    def replace(code: re.Match[str]) -> str:
        name = code["name"].lower()
        is_code = name in closed or name.startswith(_BUILDERS) or _has_attribute(code["rest"] or "")
        return "\n" if is_code else code[0]

    return _SHORTCODE.sub(replace, text)


def _has_attribute(rest: str) -> bool:
    return '="' in rest or "='" in rest or "=&quot;" in rest or "=”" in rest or "=&#8221;" in rest
