"""Where records go that can never be applied, and how they come out again: topics beside their own, or files."""
