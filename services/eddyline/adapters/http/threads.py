"""Threads for calls that block, so that the event loop doesn't.

The event loop's thread counts and queues; a worker runs the call and, as its last act, wakes the loop, so that neither
waits for the interpreter's lock. That takes half the processor time of an executor's futures, which counts where a call
takes a millisecond.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
_Settle: TypeAlias = Callable[[Any, BaseException | None], None]


class WorkerThreads:
    """At most `limit` threads, each started when all others are busy. Further calls wait for one, in order.

    They end with the process, whatever they do then.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.AbstractEventLoop, _Settle]] = SimpleQueue()
        self._threads = 0
        self._calls = 0
        """Queued or running."""

    async def run(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call it in a thread, and return what it returns or raise what it raises. Once queued it runs, though who
        awaits it be cancelled."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()

        def settle(result: Result, error: BaseException | None) -> None:
            self._calls -= 1
            if outcome.cancelled():
                return
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)

        self._calls += 1
        if self._threads < min(self._calls, self._limit):
            self._threads += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._queue.put((lambda: call(*args), loop, settle))
        return await outcome

    def _work(self) -> None:
        while True:
            self._run_next()  # a call of its own: a waiting thread holds on to nothing of the last one

    def _run_next(self) -> None:
        call, loop, settle = self._queue.get()
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)
