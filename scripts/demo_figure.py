"""The picture of the demo: some rows before and after normalisation."""

import io

import matplotlib
import numpy
import PIL.Image

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

# Okabe and Ito's palette, told apart with any kind of colour vision; the line styles differ too.
STYLES = [{"color": "#0072B2", "ls": "-"}, {"color": "#D55E00", "ls": "--"},
          {"color": "#009E73", "ls": "-."}]
GREY = "#555555"

# Three utterances by speakers 1, 4 and 6, taken for their likeness in the 2nd coefficient.
VOWEL_COEFFICIENT = 1
VOWELS = [("speaker 1", 11), ("speaker 4", 108), ("speaker 6", 164)]


def statistics_text(row):
    values = row[~numpy.isnan(row)].astype(numpy.float64)
    mean, std = values.mean(), values.std()
    return f"mean {0 if abs(mean) < 1e-4 else mean:.3g}, std {std:.3g}"


def pair(axes, titles, unit, xlabel, t, rows, shown=slice(None)):
    """The same rows before (left) and after (right); the legend tells of the whole rows, whatever
    part of them is shown."""
    for side in (0, 1):
        for style, (label, *both) in zip(STYLES, rows):
            row = both[side]
            axes[side].plot(t[shown], row[shown], lw=1.5, label=f"{label}: {statistics_text(row)}",
                            **style)
        axes[side].set_title(titles[side], loc="left", fontsize=10)
        axes[side].set_ylabel((unit, "standard deviations")[side], color=GREY)
        axes[side].set_xlabel(xlabel, color=GREY)
        axes[side].margins(x=0.01, y=0.06)
        low, high = axes[side].get_ylim()
        axes[side].set_ylim(low, high + 0.12 * len(rows) * (high - low))  # room for the legend
        axes[side].legend(loc="upper left", frameon=False, fontsize=8.5, borderaxespad=0.2,
                          handlelength=2.6, labelspacing=0.3)


def new_figure(width, height):
    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                            "axes.grid": True, "grid.color": "#E6E6E6", "axes.axisbelow": True,
                            "axes.edgecolor": "#999999", "xtick.color": GREY, "ytick.color": GREY})
    return pyplot.figure(figsize=(width, height), layout="constrained")


def save(figure, path):
    image = io.BytesIO()
    figure.savefig(image, dpi=110)
    pyplot.close(figure)
    # A palette of 256 holds all the colours there are: half the bytes.
    PIL.Image.open(image).convert("RGB").quantize(256).save(path, optimize=True)


def draw(pictures, path):
    """pictures: (x, y, which values are there) of the motions, the ECG, the vowels and the CO2."""
    figure = new_figure(10, 11)
    figure.get_layout_engine().set(h_pad=0.09, w_pad=0.12)
    axes = figure.subplots(4, 2)
    motions, ecg, vowels, co2 = ([numpy.where(there, v, numpy.nan) for v in (x, y)]
                                 for x, y, there in pictures)

    x, y = motions
    pair(axes[0], ("Motion of a wrist. Before: running dwarfs walking",
                   "After: each fills the same scale"),
         "accelerometer", "time / s", numpy.arange(x.shape[-1]) / 10,
         [("running", x[10, 0], y[10, 0]), ("walking", x[20, 0], y[20, 0])])

    x, y = ecg
    pair(axes[1], ("ECG. Before: a small signal on a large offset",
                   "After: the offset is gone, the shape is the same"),
         "converter counts", "time / s (5 of the 300 s)", numpy.arange(x.shape[-1]) / 360,
         [("five minutes", x[0, 0], y[0, 0])], slice(0, 5 * 360))

    x, y = vowels
    steps = numpy.count_nonzero(~numpy.isnan(x[VOWELS[0][1], VOWEL_COEFFICIENT]))
    pair(axes[2], ("Spoken vowels. Before: every voice has its own level and range",
                   "After: what they have in common remains"),
         "2nd cepstrum coefficient", f"step (the batch is padded to {x.shape[-1]})",
         numpy.arange(x.shape[-1]),
         [(name, x[i, VOWEL_COEFFICIENT], y[i, VOWEL_COEFFICIENT]) for name, i in VOWELS],
         slice(0, steps))

    x, y = co2
    pair(axes[3], ("CO2 at Mauna Loa. Before: weeks are missing",
                   "After: they still are, and spoil no other"),
         "parts per million", "year (10 of the 43)",
         1958.24 + numpy.arange(x.shape[-1]) * 7 / 365.25, [("43 years", x[0, 0], y[0, 0])],
         slice(0, 522))

    figure.suptitle("Instance normalisation brings each row, on its own, to mean 0 and std 1",
                    x=0.012, ha="left", fontsize=12.5, weight="bold")
    save(figure, path)
