"""What a training says while it runs: lines, and a bar with its updates, loss and reward."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

SHOWN = ("loss", "reward", "entropy", "rewards/margins", "grad_norm")
"""Figures of a trainer's log that are shown when it has them."""

LINES = 20
"""How many lines a whole training writes into a log."""


class Progress:
    """A console for one training; use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        figures = TextColumn("{task.fields[figures]}")
        self._bars = Bars(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            figures,
            console=self._console,
            transient=True,
        )

    def __enter__(self) -> Self:
        _silence()
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def callback(self) -> Any:
        """A `TrainerCallback` that moves the bar."""
        from transformers import TrainerCallback

        bars, say, live = self._bars, self.say, self._console.is_terminal

        class Moves(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                self.task = bars.add_task("training", total=state.max_steps, figures="")

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                bars.update(self.task, completed=state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
                found = [f"{n.rpartition('/')[2]} {float(logs[n]):.3g}" for n in SHOWN if n in logs]
                if not found:
                    return
                bars.update(self.task, figures="  ".join(found))
                # Where nobody sees a bar move, a line now and then.
                if not live and state.global_step % max(1, state.max_steps // LINES) == 0:
                    say(f"update {state.global_step} of {state.max_steps}: {', '.join(found)}")

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                bars.remove_task(self.task)

        return Moves()


def _silence() -> None:
    """Keep the libraries' own bars and notes from the console; warnings and errors stay."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
