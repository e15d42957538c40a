"""Rules of accumulation against the sum: who is compared, in what, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.parts import find
from experiments.report.accumulation import HIGHER, LOWER, OWN_RULES, UNDECIDED, Contrast, contrasts, rule
from experiments.report.accumulation_section import accumulation
from experiments.report.continual import COMPARED
from experiments.report.diagnosed import diagnosed
from experiments.report.document import Paragraph, Table
from experiments.report.families import REGULARISERS, Entrant
from experiments.report.stream_study import scored
from strategies.table import STRATEGIES
from tests.experiments.report.measured import FAMILY
from tests.experiments.stream_rows import cell_of_stream, outcome_of_stream, study_of

TEN = [0.5 + order / 64 for order in range(10)]
SUM, DECAY, MAX = (
    "mas(strength=2)",
    "mas(strength=2, accumulation=decay, decay=0.5)",
    "mas(strength=2, accumulation=max)",
)


def shifted(by: float) -> list[float]:
    # Differences of different size, so that ranks have no ties.
    return [score + by * (1 + order / 100) for order, score in enumerate(TEN)]


def cell(label: str, variant: str, order: int, score: float, measured: Mapping, *, seed: int = 0, **changes):
    outcome = outcome_of_stream(("A", "B"), np.full((3, 2), score), {"X": [score] * 3}, measured=measured)
    strategy = variant.partition("(")[0]
    return cell_of_stream(strategy, order, seed, configuration=label, variant=variant, **changes), outcome


def contrasts_of(folder: Path, variants: Mapping[str, str], scores=None, measured=None, **changes) -> list[Contrast]:
    """Contrasts of configurations by label, each with its variant, and a score an order."""
    cells = [
        cell(label, variant, order, score, (measured or {}).get(label, {}), **changes)
        for label, variant in variants.items()
        for order, score in enumerate((scores or {}).get(label, TEN))
    ]
    study = study_of(folder, cells)
    return contrasts([(one, diagnosed(study, one.group)) for one in scored(study, "here")])


def pairs_of(found: list[Contrast]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.configuration, one.reference) for one in found))


# --- who -------------------------------------------------------------------------------------------------------------


def test_rules_are_those_of_the_strategies():
    own = {name: find(name, STRATEGIES, "strategy").own_accumulation for name in sorted(REGULARISERS)}
    assert own == OWN_RULES


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("mas(strength=2)", "sum"),
        (DECAY, "decay"),
        ("ewc(mode=online, strength=1)", "decay"),
        ("ewc(accumulation=sum, mode=online)", "sum"),
        ("replay(memory=100)", None),
    ],
)
def test_a_rule_is_the_one_named_or_the_strategys_own(variant, expected):
    assert rule(Entrant("any", FAMILY, variant.partition("(")[0], variant, False, ())) == expected


def test_only_what_differs_in_its_rule_alone_is_compared_with_the_sum(tmp_path: Path):
    variants = {
        "decayed": DECAY,
        "summed": SUM,
        "largest": "mas(accumulation=max, strength=2)",  # Values may be in any order.
        "stronger": "mas(strength=3, accumulation=reset)",
        "other": "si(strength=2, accumulation=max)",
        "online": "ewc(mode=online, strength=1)",
        "online_sum": "ewc(mode=online, strength=1, accumulation=sum)",
        "replay": "replay(memory=100)",
    }
    found = contrasts_of(tmp_path, variants)
    assert pairs_of(found) == [("decayed", "summed"), ("largest", "summed"), ("online", "online_sum")]


def test_another_encoder_is_another_group(tmp_path: Path):
    cells = [
        cell(label, variant, order, score, {}, encoder=encoder)
        for label, variant, encoder in (("summed", SUM, "mlp"), ("decayed", DECAY, "eegnet"))
        for order, score in enumerate(TEN)
    ]
    study = study_of(tmp_path, cells)
    assert contrasts([(one, diagnosed(study, one.group)) for one in scored(study, "here")]) == []


# --- what ------------------------------------------------------------------------------------------------------------


def test_scores_rigidity_and_importance_are_paired_over_orders_and_corrected_by_themselves(tmp_path: Path):
    measured = {
        "summed": {(2, "f3_rigidity"): 0.5, (1, "f3_importance"): 1.0, (2, "f3_importance"): 8.0},
        "decayed": {(2, "f3_rigidity"): 0.25, (1, "f3_importance"): 1.0, (2, "f3_importance"): 2.0},
        "largest": {(2, "f3_rigidity"): 0.5, (1, "f3_importance"): 1.0, (2, "f3_importance"): 4.0},
    }
    variants = {"summed": SUM, "decayed": DECAY, "largest": MAX, "finetuning": "finetuning"}
    found = contrasts_of(tmp_path, variants, {"decayed": shifted(0.05), "largest": shifted(-0.05)}, measured)
    by = {(one.configuration, one.measure): one for one in found}
    least = 2 / 2**10
    for measure in COMPARED:
        decayed, largest = by["decayed", measure], by["largest", measure]
        assert decayed.p == largest.p == pytest.approx(2 * least)
        assert (decayed.verdict, largest.verdict) == (HIGHER, LOWER)
        assert decayed.paired.n == 10
    assert by["decayed", "f3_rigidity"].paired.shift == -0.25
    assert (by["decayed", "f3_rigidity"].verdict, by["largest", "f3_rigidity"].verdict) == (LOWER, UNDECIDED)
    # After the last subject, as a factor.
    assert math.exp(by["decayed", "f3_importance"].paired.shift) == pytest.approx(1 / 4)
    assert math.exp(by["largest", "f3_importance"].paired.shift) == pytest.approx(1 / 2)


def test_seeds_are_averaged_before_orders_are_counted(tmp_path: Path):
    cells = [
        cell(label, variant, order, score + (0.25 if seed == flipped else 0.0), {}, seed=seed)
        for label, variant, flipped in (("summed", SUM, 0), ("decayed", DECAY, 1))
        for order, score in enumerate(TEN)
        for seed in (0, 1)
    ]
    study = study_of(tmp_path, cells)
    found = contrasts([(one, diagnosed(study, one.group)) for one in scored(study, "here")])
    assert {(one.paired.n, one.paired.difference, one.p) for one in found} == {(10, 0.0, 1.0)}


# --- words -----------------------------------------------------------------------------------------------------------


def test_nothing_is_said_where_no_rule_stands_beside_the_sum(tmp_path: Path):
    assert list(accumulation(contrasts_of(tmp_path, {"summed": SUM, "finetuning": "finetuning"}))) == []


def test_differences_are_told_with_their_number_and_what_they_may_come_of(tmp_path: Path):
    measured = {
        "summed": {(2, "f3_rigidity"): 0.5, (2, "f3_importance"): 8.0},
        "decayed": {(2, "f3_rigidity"): 0.25, (2, "f3_importance"): 2.0},
    }
    variants = {"summed": SUM, "decayed": DECAY, "largest": MAX}
    found = contrasts_of(tmp_path, variants, {"decayed": shifted(0.05)}, measured)
    sentence, table, confound = accumulation(found)
    assert isinstance(sentence, Paragraph)
    assert isinstance(table, Table)
    assert isinstance(confound, Paragraph)
    assert (
        "ACC: higher than with the sum in 1 of 2 (decayed), no difference shown in 1 of 2 (largest)." in sentence.text
    )
    assert "Rigidity: lower than with the sum in 1 of 2 (decayed)" in sentence.text
    told = dict(zip(table.columns, table.rows[0], strict=True))
    assert (told["configuration"], told["against"], told["orders"]) == ("decayed", "summed", "10")
    assert told["ACC"].startswith("+.052 [+.0")
    assert told["ACC"].endswith("], p 0.00391")
    assert told["rigidity"] == "-.250 [-.250, -.250], p 0.00195"
    assert told["total importance (factor)"] == "0.250 [0.250, 0.250], p 0.00195"
    assert table.rows[1][-1] == "-"  # Not diagnosed.
    assert "with the sum the total penalty also grows with the number of people" in confound.text


def test_orders_that_could_show_nothing_are_told(tmp_path: Path):
    scores = {"summed": TEN[:5], "decayed": shifted(0.05)[:5]}
    sentence, *_ = accumulation(contrasts_of(tmp_path, {"summed": SUM, "decayed": DECAY}, scores))
    assert isinstance(sentence, Paragraph)
    assert "No difference can be shown, since the smallest p that 5 orders and 1 rule can give is 0.0625." in (
        sentence.text
    )
    assert "ACC: no difference shown in 1 of 1 (decayed)." in sentence.text


def test_orders_that_are_too_few_for_statistics_have_no_p(tmp_path: Path):
    scores = {"summed": TEN[:4], "decayed": shifted(0.05)[:4]}
    sentence, table, _ = accumulation(contrasts_of(tmp_path, {"summed": SUM, "decayed": DECAY}, scores))
    assert isinstance(sentence, Paragraph)
    assert isinstance(table, Table)
    assert "With 4 orders nothing is tested: that takes 5." in sentence.text
    assert not any(", p" in cell for row in table.rows for cell in row)
