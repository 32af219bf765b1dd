"""The embedder: embeds items and onboarding answers as they arrive, and keeps the item points."""
