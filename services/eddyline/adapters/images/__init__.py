"""Images from addresses that strangers gave: fetched so that they can do no harm, and decoded."""

from eddyline.adapters.images.decoder import ImageDecoder
from eddyline.adapters.images.fetcher import ImageFetcher

__all__ = ["ImageDecoder", "ImageFetcher"]
