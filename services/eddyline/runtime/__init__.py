"""The composition root: builds the real adapters, hands them to the services, runs and stops them in order."""
