"""A command asks the process that holds the data directory: by a file that is taken once, and answered in another."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eddyline.adapters.reembed_requests import (
    FOLDER,
    Outcome,
    PendingRequest,
    Progress,
    Request,
    RequestDesk,
    is_served,
)
from eddyline.adapters.vectors.edge import EdgeStore
from eddyline.cli.asking import ask_holder, without_keys
from eddyline.cli.opening import vectors_directory
from eddyline.cli.rebuild import run_reembed
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured
from eddyline.offline.rebuilding import Tell
from eddyline.settings import Encoder, Settings

ENCODER = Encoder(kind="openai", url="http://models", model="small", api_key="sesame", serving_key="open")
DONE = Outcome(kind="done", message="4 items")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[RequestDesk]:
    desk = RequestDesk(tmp_path)
    yield desk
    desk.close()


def request() -> Request:
    return Request(encoder=without_keys(ENCODER), needs_key=True, force=True)


def files(place: Path) -> set[str]:
    return {file.name for file in (place / FOLDER).iterdir()}


def test_a_request_is_taken_once_and_followed_to_its_end(desk: RequestDesk, tmp_path: Path) -> None:
    asked = request()
    pending = PendingRequest(tmp_path, asked)
    assert pending.progress() is None
    taken = desk.take()
    assert taken == asked
    assert desk.take() is None
    assert pending.progress() == Progress()
    desk.tell(asked, Progress(said=("half of it",), done=2, total=4))
    assert pending.progress() == Progress(said=("half of it",), done=2, total=4)
    desk.tell(asked, Progress(outcome=DONE))
    said = pending.progress()
    assert said is not None
    assert said.outcome == DONE
    pending.close()
    assert files(tmp_path) == {"lock"}


def test_no_key_is_written_down_and_only_the_owner_may_look(desk: RequestDesk, tmp_path: Path) -> None:
    PendingRequest(tmp_path, request())
    content = (tmp_path / FOLDER / "request.json").read_text()
    assert "small" in content
    assert "sesame" not in content
    assert "open" not in content.replace("openai", "")
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


def test_two_commands_at_once_do_not_replace_each_other(desk: RequestDesk, tmp_path: Path) -> None:
    first = request()
    PendingRequest(tmp_path, first)
    with pytest.raises(Misconfigured, match="another `eddyline reembed` waits"):
        PendingRequest(tmp_path, request())
    assert desk.take() == first
    PendingRequest(tmp_path, request())
    assert desk.take() is not None


def test_a_command_that_gives_up_withdraws_what_was_not_taken(desk: RequestDesk, tmp_path: Path) -> None:
    PendingRequest(tmp_path, request()).close()
    assert desk.take() is None
    taken = PendingRequest(tmp_path, request())
    desk.take()
    waiting = PendingRequest(tmp_path, request())
    taken.close()
    assert desk.take() is not None, "that of another command stays"
    waiting.close()


def test_what_was_asked_of_an_earlier_process_is_dropped(tmp_path: Path) -> None:
    earlier = RequestDesk(tmp_path)
    pending = PendingRequest(tmp_path, request())
    earlier.close()
    with pytest.raises(EddylineError, match=r"has ended.*Run the command again"):
        pending.progress()
    desk = RequestDesk(tmp_path)
    assert desk.take() is None
    with pytest.raises(EddylineError, match="dropped the request"):
        pending.progress()
    desk.close()


def test_a_process_that_ends_midway_is_noticed_but_its_last_word_counts(tmp_path: Path) -> None:
    desk = RequestDesk(tmp_path)
    cut_short, finished = request(), request()
    pending = [PendingRequest(tmp_path, cut_short)]
    desk.take()
    pending.append(PendingRequest(tmp_path, finished))
    desk.take()
    desk.tell(finished, Progress(outcome=DONE))
    desk.close()
    with pytest.raises(EddylineError, match="has ended"):
        pending[0].progress()
    said = pending[1].progress()
    assert said is not None
    assert said.outcome == DONE


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"id": "../../etc/passwd", "encoder": {}}', b'{"encoder": 1}'])
def test_what_is_no_request_is_dropped(desk: RequestDesk, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FOLDER / "request.json"
    path.write_bytes(content)
    assert desk.take() is None
    assert files(tmp_path) == {"lock"}


def test_a_request_that_leads_elsewhere_is_not_followed(desk: RequestDesk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(request().model_dump_json())
    (tmp_path / FOLDER / "request.json").symlink_to(elsewhere)
    assert desk.take() is None
    assert elsewhere.exists()
    assert files(tmp_path) == {"lock"}


def test_a_pipe_in_place_of_a_request_blocks_nothing(desk: RequestDesk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FOLDER / "request.json")
    assert desk.take() is None
    assert files(tmp_path) == {"lock"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is another user's")
def test_a_request_by_another_user_is_refused(desk: RequestDesk, tmp_path: Path) -> None:
    PendingRequest(tmp_path, request())
    os.chown(tmp_path / FOLDER / "request.json", 12345, 12345)
    assert desk.take() is None


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(Misconfigured, match=str(tmp_path)):
        RequestDesk(tmp_path)


def _hold(place: str, held: object, let_go: object) -> None:
    RequestDesk(Path(place))
    held.set()  # type: ignore[attr-defined]
    let_go.wait(30)  # type: ignore[attr-defined]


def test_whether_a_process_takes_requests_is_known_until_it_is_killed(tmp_path: Path) -> None:
    assert not is_served(tmp_path)
    context = multiprocessing.get_context("spawn")
    held, let_go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), held, let_go))
    process.start()
    assert held.wait(30)
    assert is_served(tmp_path)
    process.kill()
    process.join(30)
    assert not is_served(tmp_path)


def test_paths_do_not_depend_on_where_a_process_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "packaged").mkdir()
    monkeypatch.chdir(tmp_path)
    here = without_keys(Encoder(model="my-model", cache_dir=Path("kept")))
    assert (here.model, here.cache_dir) == (str(tmp_path / "my-model"), tmp_path / "kept")
    assert without_keys(Encoder(model="packaged")).model == "packaged"


# -- the command -------------------------------------------------------------------------------------------------------


class Terminal:
    """What the command shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done, self.total = 0, 0

    @contextmanager
    def bar(self, _what: str, total: int) -> Iterator[Tell]:
        self.total = total

        def tell(count: int) -> None:
            self.done += count

        yield tell


def follow(desk: RequestDesk, place: Path, terminal: Terminal, *steps: Progress) -> str:
    """Ask, and have the process say these, one each time the command looks."""
    left = list(steps)
    taken: list[Request] = []

    def meanwhile(_seconds: float) -> None:
        if not taken:
            request = desk.take()
            assert request is not None
            taken.append(request)
        elif left:
            desk.tell(taken[0], left.pop(0))

    settings = Settings(data_dir=place, encoder=ENCODER)
    return ask_holder(settings, False, False, terminal.lines.append, terminal.bar, meanwhile)


def test_the_command_shows_how_far_the_process_is(desk: RequestDesk, tmp_path: Path) -> None:
    terminal = Terminal()
    steps = [
        Progress(said=("one",)),
        Progress(said=("one",), done=1, total=4),
        Progress(said=("one", "two", "three"), done=4, total=4, outcome=DONE),
    ]
    assert follow(desk, tmp_path, terminal, *steps) == "4 items"
    assert terminal.lines[1:] == ["one", "two", "three"]
    assert (terminal.done, terminal.total) == (4, 4)
    assert files(tmp_path) == {"lock"}


@pytest.mark.parametrize(("kind", "error"), [("misconfigured", Misconfigured), ("failed", EddylineError)])
def test_the_command_fails_as_the_process_did(
    desk: RequestDesk, tmp_path: Path, kind: str, error: type[EddylineError]
) -> None:
    outcome = Outcome.model_validate({"kind": kind, "message": "no such model"})
    with pytest.raises(error, match="no such model") as raised:
        follow(desk, tmp_path, Terminal(), Progress(outcome=outcome))
    assert type(raised.value) is error


def test_an_interrupted_command_says_that_the_process_goes_on(desk: RequestDesk, tmp_path: Path) -> None:
    terminal = Terminal()

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    settings = Settings(data_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ask_holder(settings, False, False, terminal.lines.append, terminal.bar, interrupt)
    assert "goes on" in terminal.lines[-1]
    assert desk.take() is None


def test_a_directory_held_by_something_that_takes_no_requests_is_refused_as_ever(tmp_path: Path) -> None:
    from rich.console import Console

    settings = Settings(data_dir=tmp_path)
    store = EdgeStore(vectors_directory(settings))
    with pytest.raises(AlreadyRunning, match="in use by another process"):
        run_reembed(settings, False, False, Console(stderr=True))
    store.close()
