#!/usr/bin/env python3
"""Draws the pictures of docs/cookbook from the pages' own snippets.

    cookbook_figures.py [--output FOLDER]

Needs instnorm, torch and matplotlib.
"""

import argparse
import os
import pathlib
import re

import numpy

import demo_figure
from demo_figure import GREY, STYLES

ROOT = pathlib.Path(__file__).resolve().parent.parent


def names_of(page):
    """What the page's Python defines, up to its first command."""
    text = (ROOT / "docs" / "cookbook" / f"{page}.md").read_text(encoding="utf-8").split("```bash")[0]
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, page, "exec"), names)
    return names


def label(axes, title, x, y):
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.margins(x=0.01)


def padded(figure):
    names = names_of("padded-batch")
    torch, functional = names["torch"], names["functional"]
    instance, coefficient = demo_figure.VOWELS[1][1], 1
    k = int(names["lengths"][instance])
    lines = [("lengths: padding has no effect", functional.instance_norm(names["x"], lengths=names["lengths"])),
             ("padded to 26, padding counted", torch.nn.functional.instance_norm(names["x"])),
             ("padded to 76, padding counted", torch.nn.functional.instance_norm(names["longer"]))]
    axes = figure.subplots()
    for style, (name, y) in zip(STYLES, lines):
        axes.plot(y[instance, coefficient, :k], label=name, lw=1.5, **style)
    label(axes, f"One vowel of {k} steps: with padding in its statistics it depends on the batch", "step",
          "2nd cepstrum coefficient,\nnormalised")
    axes.legend(frameon=False, fontsize=8.5)


def missing(figure):
    names = names_of("missing-values")
    y = names["y"][0, 0, :522]
    years = 1958.24 + numpy.arange(len(y)) * 7 / 365.25
    axes = figure.subplots()
    axes.plot(years, y, lw=1.5, **STYLES[0])
    for year in years[numpy.isnan(y)]:
        axes.axvspan(year - 3.5 / 365.25, year + 3.5 / 365.25, color=STYLES[1]["color"], alpha=0.35, lw=0)
    label(axes, "CO2, ten of 43 years: missing weeks (marked) stay missing, and spoil no other", "year",
          "standard deviations")


def adain(figure):
    names = names_of("adain")
    names["y"] = names["functional"].instance_norm(names["walking"], weight=names["gamma"], bias=names["beta"],
                                                   weight_offset=1.0)
    rows = [("a walk", "walking"), ("a run", "running"), ("the walk in the style of the run", "y")]
    seconds = numpy.arange(names["walking"].shape[-1]) / 10
    all_axes = figure.subplots(1, 3, sharey=True)
    for axes, style, (name, key) in zip(all_axes, STYLES, rows):
        axes.plot(seconds, names[key][0, 0], color=style["color"], lw=1.5)
        label(axes, name, "time / s", "accelerometer" if key == "walking" else "")


def stream(figure):
    names = names_of("streams")
    shown = slice(0, 15 * 360)
    seconds = numpy.arange(108000)[shown] / 360
    axes = figure.subplots()
    offline = names["instnorm"].instance_norm(names["ecg"])[0, 0]
    axes.plot(seconds, names["y"][0, shown], label="as it comes, by what was heard", lw=1.2, **STYLES[0])
    axes.plot(seconds, offline[shown], label="afterwards, by all five minutes", lw=1.2, **STYLES[1])
    label(axes, "The first 15 of 300 s: a stream learns its level and spread within some heartbeats",
          "time / s", "standard deviations")
    axes.legend(frameon=False, fontsize=8.5)


def revin(figure):
    names = names_of("revin")
    torch = names["torch"]
    axes = figure.subplots()
    i = len(names["windows"]) - 1
    years = 1958.24 + (4 * i + numpy.arange(208)) * 7 / 365.25
    axes.plot(years[104:], names["windows"][i, 104:], label="measured", color=GREY, lw=1.2)
    for style, (name, make) in zip(STYLES, [("with RevIN", lambda: names["instnorm"].torch.RevIN(1)),
                                            ("without", lambda: None)]):
        torch.manual_seed(0)
        model = names["Forecaster"](make())
        error = names["error_after_training"](model)
        with torch.no_grad():
            forecast = model(names["past"][i : i + 1])[0, :, 0]
        axes.plot(years[156:], forecast, label=f"{name}: {error:.2f} ppm off in all test years", lw=1.5, **style)
    label(axes, "A linear forecast of a year of CO2, trained on the years to 1985", "year", "parts per million")
    axes.legend(frameon=False, fontsize=8.5)


FIGURES = {"padded": (padded, 3), "missing": (missing, 2.6), "adain": (adain, 2.6), "stream": (stream, 3),
           "revin": (revin, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs" / "img", metavar="FOLDER")
    output = parser.parse_args().output.resolve()
    os.chdir(ROOT)  # the pages read data/
    for name, (draw, height) in FIGURES.items():
        figure = demo_figure.new_figure(9, height)
        draw(figure)
        demo_figure.save(figure, output / f"cookbook-{name}.png")


if __name__ == "__main__":
    main()
