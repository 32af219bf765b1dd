"""Feeds: what others publish, read again and again, as items."""
