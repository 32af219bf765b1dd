"""The HTTP door: one way to read bodies, to answer problems, to document, to be watched, and to run."""

from eddyline.adapters.http.app import Check, create_app
from eddyline.adapters.http.body import describe_body, item_id_of, path_id, read_json, reply
from eddyline.adapters.http.in_flight import InFlight
from eddyline.adapters.http.problems import Problem
from eddyline.adapters.http.server import HttpServer

__all__ = [
    "Check",
    "HttpServer",
    "InFlight",
    "Problem",
    "create_app",
    "describe_body",
    "item_id_of",
    "path_id",
    "read_json",
    "reply",
]
