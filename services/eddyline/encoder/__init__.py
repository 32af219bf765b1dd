"""The encoder server: one process with the model, which others ask over HTTP."""
