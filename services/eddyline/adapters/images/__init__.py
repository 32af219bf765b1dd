"""Images from addresses that strangers gave: fetched so that they can do no harm, and decoded."""

from eddyline.adapters.images.addresses import Resolve, Screen, resolve
from eddyline.adapters.images.decoding import Decoder
from eddyline.adapters.images.fetching import Fetcher

__all__ = ["Decoder", "Fetcher", "Resolve", "Screen", "resolve"]
