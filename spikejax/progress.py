"""What long work shows of itself: the phase it is in by name, how far it is, and the time left."""

import contextlib
from collections.abc import Iterator, Mapping

import jax
from tqdm import tqdm

LINES = 20
"""Most lines about results on the way that are written where there is no terminal, beside the last one."""


class Progress:
    """A bar on a terminal; elsewhere a plain line as each phase begins, and some on the way. Of several
    processes the first shows it.

    ```
    with Progress(steps) as progress:
        for i in range(steps):
            progress.phase("training")
            ...
            progress.advance(loss="0.31")
            if i % 50 == 0:
                progress.result(f"step {i}: accuracy 0.93")
    ```

    The bar goes to stderr and vanishes if that is no terminal; lines go to stdout.

    **Arguments:** `total`: number of steps, with `initial` of them made already; `shown`: False for neither
    bar nor lines, except those of `line`; `unit`: what a step is called; `stays`: whether the bar is left on
    the terminal at the end.
    """

    def __init__(
        self, total: int, *, initial: int = 0, shown: bool = True, unit: str = "step", stays: bool = True
    ):
        self._leads = jax.process_index() == 0
        # With None, tqdm shows the bar on a terminal only.
        hidden = None if shown and self._leads else True
        self._bar = tqdm(
            total=total, initial=initial, disable=hidden, unit=unit, leave=stays, dynamic_ncols=True
        )
        self._total, self._done = total, initial
        self._shown = shown and self._leads
        self._plain = self._shown and bool(self._bar.disable)
        self._phase, self._named = "", set()
        self._written = initial * LINES // max(total, 1)

    def phase(self, name: str) -> None:
        """Say what is done from here on. Without a terminal a line, the first time."""
        if name == self._phase:
            return
        self._phase = name
        self._bar.set_description_str(name)
        if self._plain and name not in self._named:
            self._named.add(name)
            self._write(name)

    def advance(self, by: int = 1, /, **values: object) -> None:
        """So many steps more are made; `values` are shown beside the bar."""
        self._done += by
        if values:
            self._bar.set_postfix(values, refresh=False)
        self._bar.update(by)

    def result(self, text: str) -> None:
        """A line about a result on the way, such as an evaluation. Without a terminal not all of them:
        `LINES` evenly over the whole, and the last."""
        if not self._shown:
            return
        now = self._done * LINES // max(self._total, 1)
        if not self._plain or now > self._written or self._done >= self._total:
            self._written = now
            self._write(text)

    def line(self, text: str) -> None:
        """A line that is always written, such as a warning."""
        if self._leads:
            self._write(text)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context that is a phase and one step."""
        self.phase(name)
        yield
        self.advance()

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _write(self, text: str) -> None:
        self._bar.write(text)


def shown_values(values: Mapping[str, float]) -> str:
    """Numbers with their names, in one line."""
    return ", ".join(f"{name} {x:.3g}" for name, x in values.items())


__all__ = ["LINES", "Progress", "shown_values"]
