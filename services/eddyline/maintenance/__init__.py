"""Maintenance: what operators run beside the services, over the log and the vector store."""
