"""Fetching from addresses that strangers gave: images and feeds."""

from eddyline.adapters.web.addresses import AddressPolicy, ResolveHost, resolve
from eddyline.adapters.web.fetcher import Fetched, FetchLimits, GuardedFetcher

__all__ = ["AddressPolicy", "FetchLimits", "Fetched", "GuardedFetcher", "ResolveHost", "resolve"]
