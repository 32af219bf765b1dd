"""Who may call what: every route with every scope and none, keys that change, rates, hosts, pages of other sites."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from structlog.testing import capture_logs
from tests.docs.generated import current
from tests.services.serving import problem, served
from tests.support.fakes import NOW, Clock

from eddyline.adapters.file_watcher import FileWatcher
from eddyline.adapters.http import AccessControl, KeyRing, json_response, open_to
from eddyline.adapters.http.access import caller_of
from eddyline.adapters.http.keys import hash_key, load_keys, new_key
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError, Misconfigured
from eddyline.runtime.documents import describe_api
from eddyline.settings import Scope

PAGES = ("/", "/console", "/docs", "/eddyline.js", "/openapi.json", "/play")
FILES = {"/assets/{name}": "/assets/style.css", "/docs/assets": "/docs/assets/favicon.png"}
"""Routes to files, each with one that there is."""
KEYS = {scope.value: f"edk_{scope.value}" for scope in Scope}


def entry(name: str, key: str, *scopes: str, more: str = "") -> str:
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    return f'[[keys]]\nname = "{name}"\nscopes = [{listed}]\nhash = "{hash_key(key.encode()).hex()}"\n{more}\n'


def write(path: Path, *entries: str) -> Path:
    path.write_text("".join(entries))
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes() -> APIRouter:
    made = APIRouter(tags=["testing"])

    @made.get("/list", openapi_extra=open_to(Scope.LISTS))
    async def get_list(request: Request) -> Response:
        return json_response({"key": caller_of(request.scope).name})

    @made.post("/v1/events", openapi_extra=open_to(Scope.EVENTS, in_query=True))
    async def post_events(request: Request) -> Response:
        return json_response({"key": caller_of(request.scope).name})

    return made


class Door:
    """An application behind keys, which a test changes; its clocks are the test's."""

    def __init__(self, path: Path) -> None:
        self.path, self.metrics, self.clock = path, Metrics(), Clock()
        self.ring = KeyRing(path, self.metrics, monotonic=self.clock)
        self.access = AccessControl(self.ring, clock=self.clock)

    def change(self, *entries: str) -> None:
        write(self.path, *entries)
        self.ring.reload_if_changed()  # it may still be being written
        self.ring.reload_if_changed()

    def counted(self, key: str, status: int, route: str = "/list") -> float:
        """How many requests with this key were answered so."""
        labels = {"method": "GET", "route": route, "status": str(status), "key": key}
        return self.metrics.registry.get_sample_value("eddyline_http_requests_total", labels) or 0.0


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(write(tmp_path / "keys.toml", *(entry(name, key, name) for name, key in KEYS.items())))


@pytest.fixture
def client(door: Door) -> Iterator[httpx.Client]:
    with served(routes(), metrics=door.metrics, access=door.access) as client:
        yield client


# -- every route with every scope and none -------------------------------------------------------------------------


def documented() -> dict[tuple[str, str], set[str]]:
    """docs/security.md's table: what may call each route, `no key` for anyone."""
    head, _, *rows = (
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in current("access").splitlines()
    )
    return {
        (method, path): {column for column, cell in zip(head[1:], cells, strict=True) if cell}
        for (method, _, path), *cells in ((row[0].partition(" "), *row[1:]) for row in rows)
    }


@pytest.mark.slow(10)
def test_each_route_admits_the_scopes_that_the_documentation_says_and_no_others(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.console.api.STREAM_SECONDS", 0.0)
    app = describe_api(door.access)

    async def ask() -> dict[tuple[str, str], set[str]]:
        admitted: dict[tuple[str, str], set[str]] = {route: set() for route in documented()}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            for (method, path), (caller, key) in product(admitted, [*KEYS.items(), ("no key", "")]):
                filled = FILES.get(path) or path.replace("{", "").replace("}", "")
                answer = await client.request(method, filled, headers=bearer(key) if key else {})
                is_route = answer.status_code not in (404, 405) or "there is no feed" in answer.text
                assert is_route, f"{method} {path} isn't a route"
                if answer.status_code not in (401, 403):
                    admitted[method, path].add(caller)
                else:
                    assert answer.status_code == (403 if key else 401)
        return admitted

    with capture_logs():  # behind the door there is nothing: what is admitted fails
        assert asyncio.run(ask()) == documented()


def test_the_documentation_names_every_route(door: Door) -> None:
    described = describe_api().openapi()["paths"]
    every = {(method.upper(), path) for path, operations in described.items() for method in operations}
    public = {(method, path) for method, path in documented() if not path.startswith("/console/api/")}
    assert every | {("GET", path) for path in (*PAGES, *FILES)} == public


def test_a_key_may_come_as_the_user_of_basic_authorization_as_trackers_send_it(client: httpx.Client) -> None:
    assert client.get("/list", auth=(KEYS["lists"], "")).status_code == 200
    assert client.get("/list", auth=("wrong", "")).status_code == 401
    assert client.get("/list", headers={"Authorization": "Basic ???"}).status_code == 401


def test_the_api_document_says_which_scopes_a_route_takes() -> None:
    document = describe_api().openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "parameter", "proof"}
    assert document["paths"]["/v1/events"]["post"]["security"] == [{"bearer": ["events"]}, {"parameter": ["events"]}]
    assert document["paths"]["/v1/items/{item_id}"]["get"]["security"] == [
        {"bearer": ["catalogue"]},
        {"bearer": ["lists"]},
    ]
    assert document["paths"]["/healthz"]["get"]["security"] == []


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_opens_what_its_scopes_say_and_the_refusal_names_what_is_missing(
    client: httpx.Client, door: Door
) -> None:
    assert client.get("/list", headers=bearer(KEYS["lists"])).json() == {"key": "lists"}
    assert client.get("/list", headers={"authorization": f"bearer  {KEYS['lists']}"}).status_code == 200
    missing = client.get("/list")
    assert "a key with the scope lists" in problem(missing, 401)["detail"]
    assert missing.headers["www-authenticate"] == "Bearer"
    for wrong in ("x", "edk_guessed", hash_key(KEYS["lists"].encode()).hex()):
        problem(client.get("/list", headers={"Authorization": f"Bearer {wrong}"}), 401)
    problem(client.get("/list", headers={"Authorization": f"Basic {KEYS['lists']}"}), 401)
    assert problem(client.get("/list", headers=bearer(KEYS["people"])), 403)["detail"] == (
        "the key people doesn't have the scope lists"
    )
    assert (door.counted("lists", 200), door.counted("people", 403), door.counted("", 401)) == (2, 1, 5)


def test_a_key_in_the_address_is_for_events_alone(client: httpx.Client, door: Door) -> None:
    assert client.post(f"/v1/events?key={KEYS['events']}").json() == {"key": "events"}
    problem(client.get(f"/list?key={KEYS['lists']}"), 401)
    problem(client.post("/v1/events?key=edk_guessed"), 401)
    door.change(entry("both", "edk_both", "events", "lists"))
    assert "addresses end up in logs" in problem(client.post("/v1/events?key=edk_both"), 403)["detail"]
    assert client.post("/v1/events", headers=bearer("edk_both")).status_code == 200


def test_a_file_that_others_may_read_from_now_on_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.touch(0o600)
    read: list[Path] = []

    class Watcher(FileWatcher):
        def _reload(self) -> None:
            read.append(path)

    watcher = Watcher(path, "keys")
    time.sleep(0.02)  # a clock of files may tick a hundred times a second
    path.chmod(0o644)
    watcher.reload_if_changed()
    watcher.reload_if_changed()
    assert read == [path]


def test_keys_change_without_a_restart_and_a_wrong_file_changes_nothing(client: httpx.Client, door: Door) -> None:
    with capture_logs() as logged:
        door.change(entry("old", KEYS["lists"], "lists"), entry("new", "edk_new", "lists"))
        for key, name in ((KEYS["lists"], "old"), ("edk_new", "new")):
            assert client.get("/list", headers=bearer(key)).json() == {"key": name}
        door.change(entry("new", "edk_new", "lists"))
        problem(client.get("/list", headers=bearer(KEYS["lists"])), 401)
        for wrong in ("", "[[keys]]\n", entry("x", "edk_x", "everything"), "[[keys"):
            door.change(wrong)
            assert client.get("/list", headers=bearer("edk_new")).status_code == 200
            assert door.metrics.registry.get_sample_value("eddyline_http_keys_refused") == 1
        door.path.unlink()
        door.ring.reload_if_changed()
        door.ring.reload_if_changed()
        problem(client.get("/list"), 401)
        door.change(entry("last", "edk_last", "lists"))
    assert client.get("/list", headers=bearer("edk_last")).status_code == 200
    assert door.metrics.registry.get_sample_value("eddyline_http_keys_refused") == 0
    assert [line["names"] for line in logged if "names" in line] == [["old", "new"], ["new"], ["last"]]
    assert "edk_" not in str(logged)


def test_the_first_keys_of_a_running_process_close_its_door(tmp_path: Path) -> None:
    door = Door(tmp_path / "keys.toml")
    with served(routes(), metrics=door.metrics, access=door.access) as client:
        assert client.get("/list").json() == {"key": None}
        door.change(entry("first", "edk_first", "lists"))
        problem(client.get("/list"), 401)


def test_an_expired_key_is_refused(client: httpx.Client, door: Door) -> None:
    expires = f"expires = {datetime.fromtimestamp(NOW + 60, UTC).isoformat()}"
    door.change(entry("brief", "edk_brief", "lists", more=expires))
    assert client.get("/list", headers=bearer("edk_brief")).status_code == 200
    door.clock.forward(60)
    assert problem(client.get("/list", headers=bearer("edk_brief")), 401)["detail"] == "the key brief has expired"
    assert door.counted("brief", 401) == 1


def test_more_requests_than_its_rate_are_refused_until_there_is_room_again(client: httpx.Client, door: Door) -> None:
    door.change(entry("busy", "edk_busy", "lists", more="requests_per_second = 0.25"), entry("free", "edk_f", "lists"))

    def ask(key: str = "edk_busy") -> httpx.Response:
        return client.get("/list", headers=bearer(key))

    assert ask().status_code == 200
    refused = ask()
    assert "so many requests" in problem(refused, 429)["detail"]
    assert refused.headers["retry-after"] == "4"
    assert all(ask("edk_f").status_code == 200 for _ in range(20))
    door.clock.forward(3)
    assert ask().headers["retry-after"] == "1"
    door.clock.forward(1)
    assert [ask().status_code for _ in range(2)] == [200, 429]
    assert door.counted("busy", 429) == 3


def test_what_is_not_ready_is_said_to_who_may_operate(door: Door) -> None:
    def down() -> None:
        raise EddylineError("no store at 10.0.0.7")

    with served(checks={"vectors": down}, metrics=door.metrics, access=door.access) as client:
        for headers in ({}, bearer("edk_guessed"), bearer(KEYS["lists"])):
            answer = client.get("/readyz", headers=headers)
            assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
        told = client.get("/readyz", headers=bearer(KEYS["operate"])).json()
        assert told["checks"] == {"vectors": "no store at 10.0.0.7"}
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "keys: Field required"),
        ('[[keys]]\nname = "a"\n', "keys.0.scopes: Field required"),
        ('[[keys]]\nname = "a b"\nscopes = ["lists"]\nhash = ""\n', "keys.0.name"),
        ('[[keys]]\nname = "a"\nscopes = []\nhash = "edk_shown"\n', "keys.0.hash"),
        ("colour = 1\n", "colour"),
        (entry("a", "x", "lists") * 2, "more than one has the name a"),
        (entry("a", "x", "lists") + entry("b", "x", "lists"), "more than one has the hash"),
        (entry("a", "x", "lists", more="expires = 2030-01-01T00:00:00"), "keys.0.expires"),
    ],
)
def test_a_wrong_file_of_keys_is_refused_by_what_is_wrong_and_shows_no_key(
    text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured) as refused:
        load_keys(write(tmp_path / "keys.toml", text))
    assert reason in str(refused.value)
    assert "edk_" not in str(refused.value)


def test_keys_are_random_and_as_long_as_they_must_be() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("edk_") and len(key) == 4 + 43 for key in made)


@pytest.mark.parametrize("path", ["/healthz", "/list", "/nothing", "/docs"])
def test_no_answer_is_kept_framed_or_taken_for_something_else(client: httpx.Client, path: str) -> None:
    for headers in ({}, bearer(KEYS["lists"])):
        found = client.get(path, headers=headers).headers
        assert (found["cache-control"], found["x-content-type-options"]) == ("no-store", "nosniff")
        assert (found["x-frame-options"], found["referrer-policy"]) == ("DENY", "no-referrer")
        policy = found["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert policy.endswith("frame-ancestors 'none'")


def test_the_page_of_the_docs_runs_its_own_scripts_alone(client: httpx.Client) -> None:
    page = client.get("/docs", headers=bearer(KEYS["operate"]))
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (scripts,) = re.findall("script-src ([^;]+);", page.headers["content-security-policy"])
    assert scripts == f"'self' 'sha256-{digest}'"
    assert page.headers.get_list("content-security-policy", split_commas=False) == [
        page.headers["content-security-policy"]
    ]
    assert set(re.findall(r'(?:src|href)="([^/"]*/[^"]*)"', page.text)) == {
        "/docs/assets/swagger-ui-bundle.js",
        "/docs/assets/swagger-ui.css",
        "/docs/assets/favicon.png",
    }


# -- without keys: browsers on this machine --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_client() -> Iterator[httpx.Client]:
    access = AccessControl(None, ["eddyline.example"], ["https://shop.example"])
    with served(routes(), access=access, cors_origins=["https://shop.example"]) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "10.1.2.3", "api:8000", "Eddyline.example:80"]
)
def test_this_host_goes_by_addresses_names_without_a_dot_and_those_of_the_settings(
    open_client: httpx.Client, host: str
) -> None:
    assert open_client.get("/list", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/list", "/metrics", "/docs", "/openapi.json"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "a.b"])
def test_a_page_whose_name_was_made_to_point_here_is_refused(open_client: httpx.Client, host: str, path: str) -> None:
    assert "server.allowed_hosts" in problem(open_client.get(path, headers={"Host": host}), 421)["detail"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_site_can_not_post_what_needs_no_preflight(
    open_client: httpx.Client, origin: str, kind: str | None
) -> None:
    headers = {"Origin": origin} | ({"Content-Type": kind} if kind else {})
    assert "server.cors_origins" in problem(open_client.post("/v1/events", headers=headers), 403)["detail"]


def test_json_this_page_the_sites_of_the_settings_and_programs_can(open_client: httpx.Client) -> None:
    own = str(open_client.base_url).rstrip("/")
    for headers in (
        {},
        {"Content-Type": "text/plain"},
        {"Origin": own, "Content-Type": "text/plain"},
        {"Origin": "https://shop.example", "Content-Type": "text/plain"},
        {"Origin": "https://evil.example", "Content-Type": "application/json; charset=utf-8"},
    ):
        assert open_client.post("/v1/events", headers=headers).status_code == 200, headers


def test_with_keys_any_name_will_do_unless_the_settings_name_some(client: httpx.Client, door: Door) -> None:
    headers = {"Host": "evil.example", "Origin": "https://evil.example", "Content-Type": "text/plain"}
    assert client.post("/v1/events", headers=headers | bearer(KEYS["events"])).status_code == 200
    named = AccessControl(door.ring, ["eddyline.example"])
    with served(routes(), access=named) as other:
        problem(other.get("/list", headers={"Host": "127.0.0.1"} | bearer(KEYS["lists"])), 421)
        assert other.get("/list", headers={"Host": "eddyline.example"} | bearer(KEYS["lists"])).status_code == 200
