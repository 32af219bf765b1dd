"""Generations of collections: replayed or re-embedded beside the live one, then swapped."""
