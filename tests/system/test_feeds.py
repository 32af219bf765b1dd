"""From an entry of a feed to a list, from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.system import eddyline, run, wait_until

pytestmark = pytest.mark.system


class FeedHost(ThreadingHTTPServer):
    """A feed on 127.0.0.1, to which posts are added."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.posts = ["Slow rye bread"]
        self.seen: dict[str, float] = {}
        """When each post was first handed out, in monotonic seconds."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/feed.xml"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = self.server
        assert isinstance(host, FeedHost)
        posts = list(host.posts)
        items = "".join(f"<item><guid>{n}</guid><title>{title}</title></item>" for n, title in enumerate(posts))
        body = f"<rss version='2.0'><channel>{items}</channel></rss>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/rss+xml")
        self.end_headers()
        self.wfile.write(body)
        for title in posts:
            host.seen.setdefault(title, time.monotonic())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def feed_host() -> Iterator[FeedHost]:
    with FeedHost() as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        try:
            yield host
        finally:
            host.shutdown()


@pytest.mark.slow(90)
def test_a_new_entry_is_in_lists_within_two_seconds_of_being_seen(tmp_path: Path) -> None:
    with feed_host() as host:
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[feeds]\nallowed_networks = ["127.0.0.0/8"]\n[[feed]]\nname = "blog"\nurl = "{host.url}"\nevery = "1s"\n'
        )
        checked = run("feeds", "check", host.url, "--config", str(settings))
        assert '"title":"Slow rye bread"' in checked.stdout, checked.stderr
        with eddyline(
            "up", "--config", str(settings), "--data-dir", str(tmp_path / "data"), log=tmp_path / "log"
        ) as it:
            it.await_ready()
            it.await_item("blog:0")
            host.posts.append("Winter boots")

            def is_listed() -> bool:
                listed = it.client.get("/v1/latest").json()["items"]
                return any(one["item_id"] == "blog:1" for one in listed)

            wait_until(is_listed, "the new entry is in a list")
            assert time.monotonic() - host.seen["Winter boots"] < 2.0
            made = it.client.post("/v1/feeds", json={"name": "other", "url": host.url, "every": "1s"})
            assert made.status_code == 202, made.text
            it.await_item("other:0")
            feeds = {one["name"]: one for one in it.client.get("/v1/feeds").json()["feeds"]}
            assert feeds["blog"]["entries"] == 2
            assert feeds["other"]["last_success"]
            assert it.client.delete("/v1/feeds/other").status_code == 202
            wait_until(lambda: len(it.client.get("/v1/feeds").json()["feeds"]) == 1, "it has ended")
            assert it.client.delete("/v1/feeds/other").status_code == 404
            assert it.client.post("/v1/feeds", json={"name": "blog", "url": host.url}).status_code == 422
            assert it.has("other:0"), "its items stay"
