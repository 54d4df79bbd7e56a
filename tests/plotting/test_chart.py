"""Charts: both renderers draw what the description says, and take no text for markup."""

import io
import math

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hpsearch.plotting import chart, matplotlib_renderer, plotly_renderer
from hpsearch.plotting.chart import BLANK, Axis, Bars, Chart, Heatmap, Panel, Series

MARKUP = '<b>"x"</b> <a href="javascript:alert(1)">y</a> & $\\alpha$ %{x} _n'
LINE = Series(
    (1.0, 2.0, 3.0), (0.2, 0.4, 0.5), "validation", "dashed", "square", low=(0.1, 0.3, 0.4), high=(0.3, 0.5, 0.6)
)
POINTS = Series((0.5, 0.7), (0.0, 1.0), None, None, "diamond", low=(0.4, 0.6), high=(0.6, 0.9), sideways=True)
BARS = Bars((0.0, 1.0), (2.0, 1.0), (0.0, 5.0), MARKUP, hatch="/", hover=(MARKUP, "b"))
HEAT = Heatmap(((0.9, 0.1), (0.25, 0.75)), (("9\n90%", "1\n10%"), ("1\n25%", "3\n75%")))


def draw(described: Chart) -> Image.Image:
    """Return the picture of a chart."""
    return Image.open(io.BytesIO(matplotlib_renderer.render_png(described)))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The matplotlib figures that were drawn."""
    kept: list[Figure] = []
    encoded = matplotlib_renderer.encode_png

    def keep(figure: Figure) -> bytes:
        kept.append(figure)
        return encoded(figure)

    monkeypatch.setattr(matplotlib_renderer, "encode_png", keep)
    return kept


def test_figure_holds_the_points_and_their_band() -> None:
    """A line of a plotly figure has the given points, style and interval."""
    figure = plotly_renderer.make_figure(Chart((Panel("p", Axis("epoch"), Axis("accuracy"), (LINE,)),)))
    band, line = figure.data
    assert list(line.x) == [1.0, 2.0, 3.0]
    assert list(line.y) == [0.2, 0.4, 0.5]
    assert (line.name, line.line.dash, line.marker.symbol, line.mode) == (
        "validation",
        "dash",
        "square",
        "lines+markers",
    )
    assert list(band.y) == [0.3, 0.5, 0.6, 0.4, 0.3, 0.1]
    assert not band.showlegend
    assert figure.layout.xaxis.title.text == "epoch"


def test_picture_holds_the_points_and_their_band(figures: list[Figure]) -> None:
    """The same line by matplotlib."""
    picture = draw(Chart((Panel("p", Axis("epoch"), Axis("accuracy"), (LINE,)),)))
    axes = figures[0].axes[0]
    (line,) = axes.lines
    assert list(np.asarray(line.get_ydata())) == [0.2, 0.4, 0.5]
    assert line.get_marker() == "s"
    assert line.get_linestyle() == "--"
    assert axes.collections[0].get_datalim(axes.transData).extents == pytest.approx((1, 0.1, 3, 0.6))
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "accuracy", "p")
    assert picture.format == "PNG"
    assert len(np.unique(np.asarray(picture.convert("L")))) > 2  # something is on it


def test_error_bars_reach_from_low_to_high(figures: list[Figure]) -> None:
    """Points without a line have their intervals as horizontal bars, in both forms."""
    described = Chart((Panel("", Axis(), chart.make_row_axis(["a", "b"]), (POINTS,)),))
    (trace,) = plotly_renderer.make_figure(described).data
    assert np.array(trace.x) - np.array(trace.error_x.arrayminus) == pytest.approx([0.4, 0.6])
    assert np.array(trace.x) + np.array(trace.error_x.array) == pytest.approx([0.6, 0.9])
    matplotlib_renderer.render_png(described)
    (bars,) = figures[0].axes[0].containers
    assert [list(segment[:, 0]) for segment in bars[2][0].get_segments()] == [
        pytest.approx([0.4, 0.6]),
        pytest.approx([0.6, 0.9]),
    ]


def test_rows_are_named_from_top_to_bottom(figures: list[Figure]) -> None:
    """The first row of a bar chart is on top and carries its name, in both forms."""
    described = Chart((Panel("", Axis("hours"), chart.make_row_axis(["first", "second"]), (BARS,)),))
    axis = plotly_renderer.make_figure(described).layout.yaxis
    assert list(axis.ticktext) == ["first", "second"]
    assert axis.range[0] > axis.range[1]
    matplotlib_renderer.render_png(described)
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()
    spans = [bars.get_paths()[0].get_extents().intervalx for bars in axes.collections]
    assert [tuple(span) for span in spans] == [(0, 2), (5, 6)]
    assert {bars.get_hatch() for bars in axes.collections} == {"//"}


def test_heatmap_has_a_text_in_every_cell(figures: list[Figure]) -> None:
    """The cells' texts are where their shades are, first row on top, in both forms."""
    described = Chart((Panel("", chart.make_column_axis(["a", "b"]), chart.make_row_axis(["a", "b"]), (HEAT,)),))
    (trace,) = plotly_renderer.make_figure(described).data
    assert np.array(trace.z).tolist() == [[0.9, 0.1], [0.25, 0.75]]
    assert trace.text[1][0] == "1<br>25%"
    matplotlib_renderer.render_png(described)
    texts = {text.get_position(): text.get_text() for text in figures[0].axes[0].texts}
    assert texts[(0, 1)] == "1\n25%"
    assert len(texts) == 4


def test_markup_shows_as_text(figures: list[Figure]) -> None:
    """A name with tags, entities, dollar signs or a leading underscore is shown letter by letter."""
    named = Series((1.0, 2.0), (1.0, 2.0), f"_{MARKUP}", hover=(MARKUP, MARKUP))
    axes = Axis(MARKUP), chart.make_row_axis([MARKUP, "b"])
    described = Chart((Panel(MARKUP, *axes, (named, BARS)),))
    shown = plotly_renderer.make_figure(described)
    escaped = '&lt;b&gt;"x"&lt;/b&gt; &lt;a href="javascript:alert(1)"&gt;y&lt;/a&gt; &amp; $\\alpha$ %{x} _n'
    line, bars = shown.data
    assert (line.name, bars.name) == (f"_{escaped}", escaped)
    assert line.hovertext == (escaped, escaped)
    assert line.hovertemplate is None  # which would read %{x}
    assert (
        shown.layout.xaxis.title.text == shown.layout.annotations[0].text == shown.layout.yaxis.ticktext[0] == escaped
    )
    matplotlib_renderer.render_png(described)
    (drawn_axes,) = figures[0].axes
    assert drawn_axes.get_title() == MARKUP
    assert not drawn_axes.title.get_parse_math()
    texts = figures[0].legends[0].get_texts()
    assert [text.get_text() for text in texts] == [f"_{MARKUP}", MARKUP]
    assert not any(text.get_parse_math() for text in texts)


def test_label_stands_once_in_the_legend() -> None:
    """Panels side by side share the legend."""
    described = Chart((Panel("a", Axis(), Axis(), (LINE,)), Panel("b", Axis(), Axis(), (LINE,))), 2)
    lines = [trace for trace in plotly_renderer.make_figure(described).data if trace.name]
    assert [trace.showlegend for trace in lines if trace.mode == "lines+markers"] == [True, False]


def test_logarithmic_axis_keeps_its_ends(figures: list[Figure]) -> None:
    """The ends of a logarithmic axis are given as values, and its ticks are plain numbers."""
    x = Axis("learning rate", log=True, low=1e-5, high=1e-1)
    described = Chart((Panel("", x, Axis(), (Series((1e-4, 1e-2), (1.0, 2.0)),)),))
    axis = plotly_renderer.make_figure(described).layout.xaxis
    assert axis.type == "log"
    assert list(axis.range) == pytest.approx([-5, -1])
    matplotlib_renderer.render_png(described)
    drawn_axes = figures[0].axes[0]
    assert drawn_axes.get_xlim() == pytest.approx((1e-5, 1e-1))
    assert "0.001" in [label.get_text() for label in drawn_axes.get_xticklabels()]


@pytest.mark.parametrize(
    "mark", [Series((), (), "none"), Series((1.0,), (math.nan,), low=(math.nan,), high=(math.nan,))]
)
def test_nothing_to_draw_is_an_empty_panel(mark: Series) -> None:
    """Neither no point nor one without a value is an error."""
    described = Chart((Panel("empty", Axis("x"), Axis("y"), (mark,)), BLANK), 2)
    assert isinstance(plotly_renderer.make_figure(described), go.Figure)
    assert draw(described).width > 100


def test_picture_is_small() -> None:
    """Eight panels of curves take less than 40 kB."""
    panels = (Panel("level (n = 3)", Axis("epoch"), Axis("accuracy"), (LINE,)),) * 8
    assert len(matplotlib_renderer.render_png(Chart(panels, 4, width=230, height=190))) < 40_000


def test_span_leaves_out_what_is_not_finite() -> None:
    """The ends of an axis are those of the finite values and some room; there are none without a value."""
    assert chart.find_axis_ends([1.0, math.nan, 3.0, math.inf], 0.1) == pytest.approx((0.8, 3.2))
    assert chart.find_axis_ends([math.nan]) is None
    low, high = chart.find_axis_ends([0.0]) or (0.0, 0.0)
    assert low < 0 < high
