"""All that knows Faust: the worker process of the insights role."""
