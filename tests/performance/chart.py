"""Charts of federations that grow, and of streams that go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.performance.measuring import Series
from tests.performance.pace import steps_with


def draw_scaling(series: Mapping[int, Series], path: Path) -> None:
    """Time for a sampled client, and memory with and without the data, over the number of clients; as a PNG.

    Points are single repeats, lines join their medians.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = {clients: one.facts for clients, one in sorted(series.items()) if one.facts}
    figure, (time, memory) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    panels = (
        (
            time,
            lambda facts: facts["per_client_s"] * 1e3,
            "ms for a sampled client",
            "C0",
            "100 a round, or all",
        ),
        (memory, lambda facts: facts["peak_mib"], "MiB", "C1", "peak"),
        (memory, lambda facts: facts["peak_mib"] - facts["data_mib"], "MiB", "C2", "peak without the data"),
    )
    for axes, value, label, colour, name in panels:
        values = {clients: [value(facts) for facts in repeats] for clients, repeats in measured.items()}
        for clients, repeats in values.items():
            axes.plot([clients] * len(repeats), repeats, ".", color=colour, alpha=0.5)
        axes.plot(list(values), [median(repeats) for repeats in values.values()], color=colour, label=name)
        axes.set(xlabel="clients", ylabel=label, xscale="log")
        axes.margins(y=0.15)
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def draw_subjects(series: Mapping[str, Series], subjects: int, path: Path) -> None:
    """Time for a minibatch over the subjects of a stream, a line for each side; as a PNG.

    Points are single repeats, lines join their medians; sides that failed are left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    numbers = range(1, subjects + 1)
    for place, (name, one) in enumerate((name, one) for name, one in series.items() if one.facts):
        repeats = [one.of(steps_with(number)) for number in numbers]
        axes.plot(numbers, repeats, ".", color=f"C{place}", alpha=0.2, markersize=3)
        axes.plot(numbers, [median(each) for each in repeats], color=f"C{place}", label=name)
    axes.set(xlabel="subject of the stream", ylabel="ms a minibatch", yscale="log")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
