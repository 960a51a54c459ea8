"""Every figure can be read: each axis says what it shows and in which unit, nothing is written over something
else or outside the page, and axes show what there is to see."""

import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spikejax import Layer, LinearReadout, Network
from spikejax.plotting import STYLE, save_figures
from spikejax.plotting.run import holds_spikes, raster, training, voltages
from spikejax.plotting.style import colours, limits, log_axis, named_ticks, page
from spikejax.plotting.sweep import sweep_figures

from .figures import FEW, MANY, NEURONS, NIGHTLY, STEPS, metrics, shown_trial

ALL = [
    pytest.param(draw, id=f"{name}, {size}")
    for size, found in (("few", FEW), ("many", MANY))
    for name, draw in found.items()
] + [pytest.param(draw, id=name, marks=pytest.mark.nightly) for name, draw in NIGHTLY.items()]
COUNTED = (
    r"number|neuron|trial|class|update|channel|readout unit|direction|property|^name$|^[a-z_]+[.][a-z_.0-9]+$"
)
"""Words of axes that need no unit: what they count or name is one."""
HAS_UNIT = r"\(.*\)|per |%|/"


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(STYLE):
        yield


def drawn(draw) -> tuple[Figure, object]:
    figure = draw()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure, canvas.get_renderer()


def shown_ticks(ax, axis):
    """Tick labels that are seen."""
    one = ax.xaxis if axis == "x" else ax.yaxis
    low, high = sorted(one.get_view_interval())
    ticks = [*one.get_major_ticks(), *one.get_minor_ticks()]
    inside = [tick for tick in ticks if low - 1e-9 <= tick.get_loc() <= high + 1e-9]
    labels = [label for tick in inside for label in (tick.label1, tick.label2) if label.get_visible()]
    return [label for label in labels if label.get_text()]


def visible_axes(figure):
    return [ax for ax in figure.axes if ax.get_visible()]


def says(ax, axis):
    """The label of an axis, of a row of y axes that of the first."""
    if axis == "x":
        return ax.get_xlabel()
    row = [
        other
        for other in ax.figure.axes
        if ax.get_subplotspec()
        and other.get_subplotspec()
        and other.get_subplotspec().rowspan == ax.get_subplotspec().rowspan
        and other.get_subplotspec().get_gridspec() is ax.get_subplotspec().get_gridspec()
    ]
    return ax.get_ylabel() or next((other.get_ylabel() for other in row if other.get_ylabel()), "")


@pytest.mark.parametrize("draw", ALL)
def test_a_figure_can_be_read(draw):
    figure, renderer = drawn(draw)
    paper = figure.bbox.padded(1.0)
    for ax, axis in itertools.product(visible_axes(figure), ("x", "y")):
        ticks = shown_ticks(ax, axis)
        if ticks:
            label = says(ax, axis)
            assert label, f"{axis} axis of {ax.get_title()!r} has no label"
            assert re.search(f"{COUNTED}|{HAS_UNIT}", label, re.DOTALL), f"no unit: {label!r}"
        boxes = [label.get_window_extent(renderer) for label in ticks]
        for (a, one), (b, other) in itertools.combinations(zip(ticks, boxes, strict=True), 2):
            assert not one.padded(-0.5).overlaps(other.padded(-0.5)), f"{a.get_text()} over {b.get_text()}"
        for label, box in zip(ticks, boxes, strict=True):
            assert paper.contains(box.x0, box.y0), label.get_text()
            assert paper.contains(box.x1, box.y1), label.get_text()
    legends = [*figure.legends, *(ax.get_legend() for ax in visible_axes(figure) if ax.get_legend())]
    for legend in legends:
        box = legend.get_window_extent(renderer)
        assert paper.contains(box.x0, box.y0)
        assert paper.contains(box.x1, box.y1)
        for ax in visible_axes(figure):  # it hides neither data nor a title
            title = ax.title.get_window_extent(renderer)
            assert not ax.get_title() or not box.overlaps(title), f"legend over {ax.get_title()!r}"
            inside = ax.get_window_extent(renderer).padded(-2.0)
            assert not box.overlaps(inside), f"legend over {ax.get_ylabel()!r}"
    for ax in visible_axes(figure):
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert paper.contains(box.x0, box.y0), text.get_text()
                assert paper.contains(box.x1, box.y1), text.get_text()


def test_an_outlier_does_not_hide_the_zone():
    shown = shown_trial(np.random.default_rng(0), 2)
    figure, _ = drawn(lambda: voltages(shown))
    for ax in figure.axes:
        low, high = ax.get_ylim()
        assert low > -3  # v falls to -20
        assert high >= 1.0
        assert any("down to -20" in text.get_text() for text in ax.texts)


def test_voltages_of_a_population_of_any_shape():
    """Every neuron has its own reset and threshold there, in the shape of the population."""
    flat = shown_trial(np.random.default_rng(0), 2)
    (layer,), (record,) = flat.network.layers, flat.solution.layers
    per_neuron = np.linspace(0.5, 1.0, NEURONS)

    def figure_of(shape):
        named = lambda n: (n.v_th, n.v_reset)
        values = (jnp.asarray(per_neuron.reshape(shape)), jnp.asarray(per_neuron.reshape(shape) - 0.5))
        own = Layer.create(
            (3,), shape, eqx.tree_at(named, layer.neuron, values), layer.synapse, recurrent=None,
            key=jax.random.key(0),
        )  # fmt: skip
        records = record._replace(v=record.v.reshape(STEPS, *shape))
        counts = (flat.solution.counts[0].reshape(shape),)
        shown = flat._replace(
            network=Network((own,), LinearReadout.create(own.activation_shape, 2, key=jax.random.key(0))),
            solution=flat.solution._replace(layers=(records,), counts=counts),
        )
        return drawn(lambda: voltages(shown))[0]

    one, other = figure_of((NEURONS,)), figure_of((2, 5, NEURONS // 10))
    assert [ax.get_ylim() for ax in one.axes] == [ax.get_ylim() for ax in other.axes]
    assert len({ax.get_ylim() for ax in one.axes}) > 1


def test_limits_hold_all_that_lies_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    low, high = limits(x)
    assert low < x.min() < x.max() < high
    low, high = limits([*x, -1e6])
    assert -10 < low < -2
    assert limits([*x, -1e6], keep=(-50.0,))[0] <= -50
    for empty in ([], [np.nan], [3.0, 3.0]):
        low, high = limits(empty)
        assert low < high


def test_signals_are_no_spikes():
    rng = np.random.default_rng(0)
    assert holds_spikes((rng.random((100, 20)) < 0.1).astype(float))
    assert holds_spikes((rng.random((200, 2)) < 0.1).astype(float))
    assert not holds_spikes(rng.normal(size=(100, 2)))
    pulse = np.zeros((100, 2))
    pulse[20:60, 0] = 1.0
    assert not holds_spikes(pulse)
    assert holds_spikes(np.zeros((10, 5)))
    figure, _ = drawn(lambda: raster(shown_trial(rng, 2, signal=True)))
    top = figure.axes[0]
    assert len(top.lines) == 3
    assert "signal" in top.get_ylabel()
    figure, _ = drawn(lambda: raster(shown_trial(rng, 2)))
    assert "spikes" in figure.axes[0].get_ylabel()


def test_whole_spikes_need_no_bar_of_shades():
    shown = shown_trial(np.random.default_rng(0), 2)
    whole = [record._replace(release=(record.release > 0).astype(float)) for record in shown.solution.layers]
    hard = shown._replace(solution=shown.solution._replace(layers=tuple(whole)))
    assert len(drawn(lambda: raster(hard))[0].axes) == len(drawn(lambda: raster(shown))[0].axes) - 1


def test_a_constant_sharpness_has_no_panel():
    found = metrics(np.random.default_rng(0), "accuracy")
    assert any("sharpness" in ax.get_ylabel() for ax in training(found).axes)
    level = [entry | {"sharpness": 2.5} for entry in found]
    assert not any("sharpness" in ax.get_ylabel() for ax in training(level).axes)


def test_a_readout_is_beside_its_target():
    figure, _ = drawn(FEW["activations of a signal"])
    labels = [line.get_label() for line in figure.axes[-1].lines] + [
        line.get_label() for ax in figure.axes for line in ax.lines
    ]
    assert {"readout 0", "target 0", "readout 1", "target 1"} <= set(labels)


def test_colours_are_told_apart():
    for count in (2, 10, 27):
        assert len({mpl.colors.to_hex(one) for one in colours(count)}) == count


@pytest.mark.parametrize("ends", [(1, 9), (0.02, 0.9), (1e-8, 1e12), (4.0, 4.0), (30, 41), (0.997, 1.0)])
def test_labels_of_a_logarithmic_axis(ends):
    def draw():
        figure, axes = page(1, 1, 2.2, 2.0)
        assert log_axis(axes[0, 0], "x", ends, most=4)
        return figure

    figure, renderer = drawn(draw)
    ticks = shown_ticks(figure.axes[0], "x")
    assert 1 <= len(ticks) <= 4
    boxes = [label.get_window_extent(renderer) for label in ticks]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_no_logarithm_of_what_is_not_above_0():
    _, axes = page(1, 1, 3.0, 3.0)
    for values in ([0.0, 1.0], [-1.0, 2.0], [np.nan]):
        assert not log_axis(axes[0, 0], "y", values)
    assert axes[0, 0].get_yscale() == "linear"


@pytest.mark.parametrize("count", [1, 5, 40, 300])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_names_at_ticks_do_not_overlap(count, axis):
    def draw():
        figure, axes = page(1, 1, 3.0, 3.0)
        axes[0, 0].set(xlim=(-1, count), ylim=(-1, count))
        named_ticks(axes[0, 0], axis, np.arange(count), [f"class {i}" for i in range(count)], 2.2)
        return figure

    figure, renderer = drawn(draw)
    boxes = [label.get_window_extent(renderer).padded(-0.5) for label in shown_ticks(figure.axes[0], axis)]
    assert boxes
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_vector_files(tmp_path):
    draw = {"filters": MANY["filters"]}
    paths = save_figures(tmp_path, draw, ("png", "pdf", "svg"))
    assert [path.name for path in paths] == ["filters.png", "filters.pdf", "filters.svg"]
    begins = [path.read_bytes()[:5] for path in paths]
    assert begins == [b"\x89PNG\r", b"%PDF-", b"<?xml"]
    assert "time before (ms)" in paths[2].read_text()  # text, not outlines
    with pytest.raises(ValueError, match="bmpx"):
        save_figures(tmp_path, draw, ("bmpx",))


def test_panels_that_share_an_axis_show_the_values_of_each():
    points = [{"gate.sharpness": a} for a in (1.0, 2.0, 4.0)]
    smooth, hard = (0.010, 0.012, 0.015), (0.035, 0.036, 0.037)
    rows = [{"smooth error": a, "hard error": b} for a, b in zip(smooth, hard, strict=True)]
    figure, _ = drawn(sweep_figures(points, rows)["scores"])
    for ax in figure.axes:
        low, high = ax.get_ylim()
        assert low < min(smooth)
        assert high > max(hard)
