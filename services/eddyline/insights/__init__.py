"""Insights: what is served is measured, and variants compete."""
