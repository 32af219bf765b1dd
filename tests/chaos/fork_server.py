"""A process that has imported everything, forks workers from itself in milliseconds, and tells what becomes of them.

The tests speak to it through its standard input and output, a JSON object a line. It ends its workers when they end.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0
MODULES = ("tests.chaos.worker", "tests.chaos.store")
"""What it can run: each has a `main` that takes the child's configuration."""


@dataclass
class Child:
    """A forked process. `code` as of subprocess: negative for the signal that ended it; None while it lives."""

    fork_server: ForkServer
    pid: int
    log: Path
    code: int | None = None
    stopped: bool = False

    @property
    def alive(self) -> bool:
        """Whether it hasn't ended."""
        return self.code is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended is passed over."""
        self.fork_server.signal(self, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        return self.fork_server.wait_until(lambda: not self.alive, seconds)


class ForkServer:
    """The tests' end."""

    def __init__(self) -> None:
        # One thread in the parent, so that forking it is safe.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        paths = [str(ROOT), str(ROOT / "services"), *filter(None, [environment.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.fork_server"],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._children: dict[int, Child] = {}
        self._forked: dict[int, int] = {}
        self._ready = False
        self._requests = 0
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self.wait_until(lambda: self._ready, START_SECONDS), "the fork server doesn't start"

    def fork(self, module: str, config: dict[str, Any], log: Path) -> Child:
        """A child that runs `module`'s `main(config)`, its output going to `log`."""
        with self._changed:
            self._requests += 1
            number = self._requests
        self._send({"fork": number, "module": module, "config": config, "log": str(log)})
        assert self.wait_until(lambda: number in self._forked, START_SECONDS), "the fork server doesn't fork"
        child = self._children[self._forked[number]]
        child.log = log
        return child

    def signal(self, child: Child, number: signal.Signals) -> None:
        """Only the parent knows that a process id is still its child's."""
        self._send({"signal": int(number), "pid": child.pid})

    def wait_until(self, condition: Any, seconds: float) -> bool:
        """Whether it held within so many seconds; looked at whenever a child changes."""
        with self._changed:
            return bool(self._changed.wait_for(condition, seconds))

    def close(self) -> None:
        """End it, and all of its children."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._listener.join(10)
        self._process.stdout.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._handle(json.loads(line))

    def _handle(self, message: dict[str, Any]) -> None:
        with self._changed:
            if message.get("ready"):
                self._ready = True
            elif "forked" in message:
                self._children[message["pid"]] = Child(self, message["pid"], Path())
                self._forked[message["forked"]] = message["pid"]
            else:
                child = self._children[message["pid"]]
                child.stopped = message.get("stopped", False)
                child.code = message.get("code")
            self._changed.notify_all()


def main() -> None:
    """The process itself."""
    for module in MODULES:
        importlib.import_module(module)
    # A child's change must end the wait for input: its signal writes a byte to a pipe.
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    children: set[int] = set()
    _report({"ready": True})
    with selectors.DefaultSelector() as waiting:
        waiting.register(sys.stdin.fileno(), selectors.EVENT_READ)
        waiting.register(reader, selectors.EVENT_READ)
        rest = b""
        while True:
            ready = {key.fd for key, _ in waiting.select()}
            if reader in ready:
                with suppress(BlockingIOError):
                    os.read(reader, 4096)
                _reap(children)
            if sys.stdin.fileno() in ready:
                data = os.read(sys.stdin.fileno(), 1 << 20)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    _execute(json.loads(line), children, (reader, writer))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _execute(message: dict[str, Any], children: set[int], pipe: tuple[int, int]) -> None:
    if "signal" in message:
        if message["pid"] in children:
            os.kill(message["pid"], message["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _run_child(message, pipe)
    children.add(pid)
    _report({"forked": message["fork"], "pid": pid})
    _reap(children)  # it may have changed before it was known


def _run_child(message: dict[str, Any], pipe: tuple[int, int]) -> None:
    """In the child; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in pipe:
            os.close(descriptor)
        log = os.open(message["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        importlib.import_module(message["module"]).main(message["config"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(children: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            _report({"pid": pid, "stopped": True})
        elif os.WIFCONTINUED(status):
            _report({"pid": pid, "stopped": False})
        else:
            children.discard(pid)
            _report({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _report(message: dict[str, Any], to: IO[bytes] = sys.stdout.buffer) -> None:
    to.write(json.dumps(message).encode() + b"\n")
    to.flush()


if __name__ == "__main__":
    main()
