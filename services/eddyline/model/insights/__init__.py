"""What is measured: lists and what came of them, in windows. Pure."""
