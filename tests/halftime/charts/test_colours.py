"""Parts of memory that touch are told apart by readers who see fewer colours, in both modes."""

import itertools
import re
from pathlib import Path

import pytest

from halftime.charts.theme import PARTS
from halftime.contract.precisions import MARKS

CSS = (Path(__file__).parents[3] / "app/web/static/halftime.css").read_text()
GROUND = {"light": "#ffffff", "dark": "#14171a"}

#: What linear RGB looks like: Machado, Oliveira & Fernandes 2009, severity 1.
SIGHT = {
    "all colours": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    "protanopia": [(0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)],
    "deuteranopia": [(0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)],
    "tritanopia": [(1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)],
}
#: sRGB, D65.
XYZ = [(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]
WHITE = (0.9505, 1.0, 1.089)

#: CIE 1976 distance at which two neighbouring areas are plainly two.
APART = 15


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def linear(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]


def lab(colour, sight):
    seen = [min(max(value, 0), 1) for value in times(SIGHT[sight], linear(colour))]
    x, y, z = (
        part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116
        for part in (value / white for value, white in zip(times(XYZ, seen), WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def colours(mode):
    found = {name: modes for name, *modes in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", CSS)}
    return [found[part][list(GROUND).index(mode)] for part in PARTS]


@pytest.mark.parametrize("mode", GROUND)
@pytest.mark.parametrize("sight", SIGHT)
def test_neighbours_are_told_apart(mode, sight):
    for one, next_one in itertools.pairwise(colours(mode)):
        a, b = lab(one, sight), lab(next_one, sight)
        assert sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5 >= APART, (one, next_one)


@pytest.mark.parametrize("mode", GROUND)
def test_every_part_stands_out_from_the_ground(mode):
    (ground,) = times(XYZ[1:2], linear(GROUND[mode]))
    for colour in colours(mode):
        (bright,) = times(XYZ[1:2], linear(colour))
        high, low = max(bright, ground), min(bright, ground)
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_charts_and_pages_have_the_same_colours():
    assert colours("light") == list(PARTS.values())


def test_every_precision_has_the_same_colour_and_dash_in_charts_and_pages():
    light = dict(re.findall(r"--([\w-]+): light-dark\((#\w+), #\w+\)", CSS))
    dashes = dict(re.findall(r"\.series\.([\w-]+) { stroke: var\(--\1\); stroke-dasharray: ([\d ]+); }", CSS))
    for name, mark in MARKS.items():
        assert light[name] == mark.colour
        if name != "fp32":  # what has no rule of its own is drawn so
            assert dashes[name] == " ".join(map(str, mark.dash))
            assert f".whisker.{name} {{" in CSS
            assert f".dot.{name} {{" in CSS


def test_every_precision_has_a_shape_of_its_own():
    assert len({mark.shape for mark in MARKS.values()}) == len(MARKS)
