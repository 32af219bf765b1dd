"""Events of other systems: what each means here, and where it says so.

One table for all: names are compared without regard to case, and `_` is a space, so that GA4's `add_to_cart` and a
track call "Add To Cart" are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from eddyline.settings.section import Name, Section

FieldPath = Annotated[str, Field(max_length=256, pattern=r"^[^.\s]([^.]|\.[^.])*$")]
FieldPaths = Annotated[
    tuple[FieldPath, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
"""Where a value may be, e.g. `customer.id`: the first place that has one counts."""
_ORDER = ("order_id", "transaction_id", "ecommerce.transaction_id")


class EventMapping(Section):
    """What an event of another system means here. Each field names one place, or several to try in turn; dots lead into
    objects."""

    type: Name
    """Ours: one of `events.weights`, or `identify`; with `impression`, its products are a list that was seen."""
    products: FieldPaths = ("products", "items", "ecommerce.items")
    """The list of its products, each of which becomes an event; without one, the event itself names its item."""
    item_id: FieldPaths = ("product_id", "productId", "item_id", "content_id", "asset_id", "article_id", "sku")
    """In a product."""
    value: FieldPaths = ("price",)
    """In a product."""
    position: FieldPaths = ("position", "index")
    """In a product of a list that was seen."""
    list_name: FieldPaths = ("item_list_id", "item_list_name", "list_id", "list", "category")
    """The name of a list that was seen, as its surface."""
    event_id: FieldPaths = ()
    """What a repetition is known by, e.g. an order's number; else the id of the message."""
    user_id: FieldPaths = ("user_id", "userId")
    """Where the tracker itself names nobody; so with the next."""
    anonymous_id: FieldPaths = ("anonymous_id", "anonymousId", "client_id")
    timestamp: FieldPaths = ("timestamp",)
    """When it happened, where the tracker itself doesn't say so."""


EVENT_MAPPINGS: Mapping[str, EventMapping] = {
    # Segment's and RudderStack's specs of e-commerce and content
    "product viewed": EventMapping(type="view"),
    "content viewed": EventMapping(type="view"),
    "article viewed": EventMapping(type="view"),
    "video content started": EventMapping(type="view"),
    "product clicked": EventMapping(type="click"),
    "product added": EventMapping(type="cart"),
    "product added to wishlist": EventMapping(type="save"),
    "product shared": EventMapping(type="share"),
    "product reviewed": EventMapping(type="rating", value=("rating",)),
    "order completed": EventMapping(type="purchase", event_id=_ORDER),
    "product list viewed": EventMapping(type="impression"),
    "product list filtered": EventMapping(type="impression"),
    "products searched": EventMapping(type="impression"),
    "identify": EventMapping(type="identify"),
    "alias": EventMapping(type="identify"),
    # Google Analytics 4's recommended events
    "view item": EventMapping(type="view"),
    "select item": EventMapping(type="click"),
    "select content": EventMapping(type="click"),
    "add to cart": EventMapping(type="cart"),
    "add to wishlist": EventMapping(type="save"),
    "share": EventMapping(type="share"),
    "purchase": EventMapping(type="purchase", event_id=_ORDER),
    "view item list": EventMapping(type="impression"),
    "search": EventMapping(type="impression"),
    "view search results": EventMapping(type="impression"),
    "login": EventMapping(type="identify"),
    "sign up": EventMapping(type="identify"),
}
"""By normalised name."""


def normalised_name(name: str) -> str:
    """Return an event's name as the table has it."""
    return " ".join(name.replace("_", " ").lower().split())


def merge_mappings(given: Any) -> Any:
    """Put mappings that were given over those that there are, field by field. Raises ValueError."""
    if not isinstance(given, Mapping):
        return given
    merged: dict[str, Any] = dict(EVENT_MAPPINGS)
    for name, mapping in given.items():
        known = normalised_name(str(name))
        if not known:
            raise ValueError("an event needs a name")
        is_change = isinstance(mapping, Mapping) and known in EVENT_MAPPINGS
        merged[known] = {**EVENT_MAPPINGS[known].model_dump(exclude_unset=True), **mapping} if is_change else mapping
    return merged
