"""The HTTP door: one way to read bodies, to answer problems, to document, to be watched, and to run."""

from eddyline.adapters.http.access import AccessControl, open_to
from eddyline.adapters.http.app import create_app, create_operations_app
from eddyline.adapters.http.body import (
    describe_body,
    id_from_path,
    item_id_from_path,
    json_response,
    read_json,
    validate_input,
    with_path_id,
)
from eddyline.adapters.http.identity import IdentityCheck
from eddyline.adapters.http.in_flight import InFlightLimit
from eddyline.adapters.http.keys import KeyRing, load_keys
from eddyline.adapters.http.operations import ReadinessCheck, operations_routes, probe_routes
from eddyline.adapters.http.problems import Problem
from eddyline.adapters.http.server import HttpServer, listen, listen_together, url_of
from eddyline.adapters.http.threads import WorkerThreads

__all__ = [
    "AccessControl",
    "HttpServer",
    "IdentityCheck",
    "InFlightLimit",
    "KeyRing",
    "Problem",
    "ReadinessCheck",
    "WorkerThreads",
    "create_app",
    "create_operations_app",
    "describe_body",
    "id_from_path",
    "item_id_from_path",
    "json_response",
    "listen",
    "listen_together",
    "load_keys",
    "open_to",
    "operations_routes",
    "probe_routes",
    "read_json",
    "url_of",
    "validate_input",
    "with_path_id",
]
