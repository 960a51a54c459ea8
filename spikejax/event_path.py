"""Which path a product of events with weights takes (`spikejax.event_product` has the paths): the one place
where that is decided."""

from typing import NamedTuple

NS_CELL, NS_PLACED = 0.03, 15.0
"""Dense: ns for a cell of the array and output, and for an event that is put into it."""
NS_EVENT, NS_ROW = 8.0, 0.1
"""Compressed rows: ns for an event, and for an event and output."""
NS_POINTER, NS_SORTED = 20.0, 180.0
"""Compressed rows: ns to find where a row begins, and, for an event, to sort the list."""
NS_TURN, NS_ADDED = 8.0, 0.2
"""Loop: ns for an event, and for an event and output. All measured on one core of an x86-64 CPU, in float32,
of 10 to 512 outputs; only their ratios matter."""
FORMS = ("dense", "events", "auto", "rows", "loop", "scatter")
"""What a task can be asked to hand on: arrays, lists of events, lists where these are sparse, or lists whose
products take the path that is named."""
SPARSE = 0.05
"""Density up to which a stimulus is handed on as a list where that is left open: below it compressed rows and
the loop are the quickest at any number of outputs above 10, and the lists the smaller ones."""
MOST_CELLS = 1 << 28
"""Cells of the dense array on an accelerator, where dense is the fastest as long as it fits: 1 GiB in single
precision."""


class Shape(NamedTuple):
    """What a product is of."""

    lists: int
    """Lists of events."""
    events: int
    """In each of them, those of value 0 too."""
    rows: int
    """Rows of a list's result."""
    columns: int
    """Rows of the matrix that a list chooses from."""
    out: int
    """Columns of the matrix."""
    results: int = 1
    """Results: one for every list, or fewer, to which several lists add."""
    matrices: int = 1
    """Matrices: one for all lists, or several."""
    ordered: bool = False
    """Whether the rows that the events of a list belong to never fall."""

    @property
    def sorted(self) -> bool:
        """Whether the lists one after the other are in the order of rows of the results one after the
        other."""
        return self.ordered and self.results == self.lists

    @property
    def cells(self) -> int:
        """Cells of the dense arrays."""
        return max(self.results, self.matrices) * self.rows * self.columns


def costs(shape: Shape, floats: bool = True) -> dict[str, float]:
    """Estimated time of every path on one core of a CPU, ms.

    **Arguments:** `floats`: whether it is in single or double precision, for which there is a kernel of
    compressed rows.
    """
    events = shape.lists * shape.events
    rows = events * (NS_EVENT + shape.out * NS_ROW + (0.0 if shape.sorted else NS_SORTED))
    found = {
        "dense": events * NS_PLACED + shape.cells * shape.out * NS_CELL,
        "rows": rows + shape.results * shape.rows * NS_POINTER,
        "loop": events * (NS_TURN + shape.out * NS_ADDED),
    }
    return {path: 1e-6 * ns for path, ns in found.items() if floats or path != "rows"}


def chosen_path(shape: Shape, platform: str, floats: bool = True) -> str:
    """The path of a product that may take any: on a CPU the one estimated to be the quickest, on an
    accelerator dense as long as that fits.

    **Arguments:** `platform`: ``"cpu"`` or another; `floats`: see `costs`.
    """
    if platform != "cpu":
        return "dense" if shape.cells <= MOST_CELLS else "scatter"
    found = costs(shape, floats)
    return min(found, key=found.__getitem__)


def list_path(form: str, density: float) -> str | None:
    """The path of the products of a stimulus that is handed on as lists of events; None if it is handed on as
    an array.

    **Arguments:** `form`: one of `FORMS`; `density`: events of the longest list, by the cells of the array.
    """
    if form == "dense" or (form == "auto" and density > SPARSE):
        return None
    return "auto" if form == "events" else form


__all__ = ["FORMS", "Shape", "chosen_path", "costs", "list_path"]
