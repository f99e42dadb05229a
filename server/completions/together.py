"""Several prompts of one request, solved at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from mull.server.completions.format import CompletionFormat, Of
from mull.server.errors import cause_of
from mull.server.events import Failed, Silence, Solving
from mull.server.reply import Reply, Telling
from mull.server.service import Job, Service, Solved


class Together:
    """Solves several jobs and tells how each goes. The first that fails ends them all.

    Args:
        solvings: One for each prompt.
    """

    def __init__(self, solvings: Sequence[Solving]) -> None:
        self._solvings = solvings

    async def begin(self) -> None:
        """Wait until all are known to be sound, or for one heartbeat.

        Raises:
            MullError: what is wrong with the first that is not.
        """
        await asyncio.gather(*(solving.begin() for solving in self._solvings))

    async def events(self) -> AsyncGenerator[Of, None]:
        """All there is to tell; ends after all are solved, or one has failed."""
        news: asyncio.Queue[Of] = asyncio.Queue()
        tellers = [
            asyncio.create_task(_tell(prompt, solving, news)) for prompt, solving in enumerate(self._solvings)
        ]
        running = set(range(len(tellers)))
        try:
            while running:
                told = await news.get()
                # One sign of life is enough for all.
                if not isinstance(told.event, Silence) or told.prompt == min(running):
                    yield told
                if isinstance(told.event, Failed):
                    return
                if isinstance(told.event, Solved):
                    running.remove(told.prompt)
        finally:
            for teller in tellers:
                teller.cancel()
            await asyncio.gather(*tellers, return_exceptions=True)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        await asyncio.gather(*(solving.close() for solving in self._solvings))


class ReplyToAll(Reply):
    """Solves the jobs of one request while the answer is being sent.

    Args:
        service: What solves them.
        jobs: One for each prompt.
        form: How to answer.
        stream: Whether to answer as server-sent events.
        heartbeat: Seconds of silence in a stream before a sign of life.
    """

    def __init__(
        self,
        service: Service,
        jobs: Sequence[Job],
        form: CompletionFormat,
        *,
        stream: bool,
        heartbeat: float,
    ) -> None:
        super().__init__(service, jobs[0], form, stream=stream, heartbeat=heartbeat)
        self._jobs = jobs
        self._all = form

    async def _whole(self) -> Mapping[str, Any]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._service.solve(job)) for job in self._jobs]
        except BaseExceptionGroup as failed:
            raise cause_of(failed) from None
        return self._all.whole([task.result() for task in tasks])

    def _solving(self) -> Telling:
        return Together(
            [
                Solving(self._service, job, heartbeat=self._heartbeat, nodes=self._form.nodes)
                for job in self._jobs
            ]
        )


async def _tell(prompt: int, solving: Solving, news: asyncio.Queue[Of]) -> None:
    async with aclosing(solving.events()) as events:
        async for event in events:
            news.put_nowait(Of(prompt=prompt, event=event))
