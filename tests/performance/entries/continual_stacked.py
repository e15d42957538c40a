"""What a study would gain if the streams of its orders and seeds were learned as one stack, as federated clients are.

Fine-tuning alone, without early stopping, diagnostics or scores, which a stack would have to bring too: the ratio is
the most that there is to gain, in what ``continual_study`` tells as the share of training.
"""

from __future__ import annotations

from dataclasses import replace

from tests.performance.measuring import Row, alternate, compared
from tests.performance.problem import STREAM
from tests.performance.process import warm
from tests.performance.setting import Setting
from tests.performance.sides.table import STREAMS

_RUNS = 30

_PROBLEMS = {
    "as in continual_study": replace(STREAM, windows=80, shape=(40,)),
    "as in continual_minibatch": STREAM,
}


def measure(setting: Setting) -> list[Row]:
    """A row for each size of a subject."""
    rows = []
    for told, problem in _PROBLEMS.items():
        work = setting.sized(problem)
        given = {"problem": work.values(), "runs": 3 if setting.reduced else _RUNS}
        ways = ("side_by_side", "one_by_one")
        with warm({way: (STREAMS, {**given, "way": way}) for way in ways}) as process:
            series = alternate(process.timing(*ways), setting.repeats)
        ours, peer = ((way, series[way]) for way in ways)
        rows.append(compared("continual_stacked", f"{given['runs']} streams {told}", ours, peer))
    return rows
