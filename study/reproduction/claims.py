"""What the reports say of two of their trainings, judged by the difference that comes out here."""

from __future__ import annotations

from dataclasses import dataclass

from study.analysis.intervals import Interval, paired_difference
from study.page.text import percent, points, span
from study.reproduction import results
from study.reproduction.recipe import Claim
from study.reproduction.results import Reproduction, Score, last_epoch, score_of


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim on one net. before, after: the untreated and the treated run at their last epochs.

    difference: after minus before over the seeds that both have; None where one is missing or the two ran at different
    scales. obstacle: why the numbers do not compare with the report's, or None. absent: why there is no difference.
    """

    claim: Claim
    net: str
    before: Score | None
    after: Score | None
    difference: Interval | None
    obstacle: str | None
    absent: str | None

    @property
    def verdict(self) -> str | None:
        return None if self.difference is None else verdict(self.claim, self.difference)


def judgements(reproduction: Reproduction) -> list[Judgement]:
    """Of every claim, on every net of which a run was chosen."""
    return [
        _judgement(reproduction, claim, *pair)
        for claim in reproduction.summary.claims
        for pair in claim.pairs
        if any(reproduction.run(run) for run in pair[1:])
    ]


def _judgement(reproduction: Reproduction, claim: Claim, net: str, treated: str, control: str) -> Judgement:
    before, after = (last_epoch(reproduction, run, claim.column) for run in (control, treated))
    absences = (results.absence(reproduction, run) for run in (treated, control))
    absent = next((absence for absence in absences if absence), None)
    if absent is None and not results.same_scale(reproduction, treated, control):
        absent = "the two ran at different scales"
    return Judgement(
        claim=claim,
        net=net,
        before=score_of(before),
        after=score_of(after),
        difference=None if absent else paired_difference(after, before),
        obstacle=results.obstacle(reproduction, treated),
        absent=absent,
    )


def reported_gain(claim: Claim) -> float | None:
    """By how much the treated training's reported number lies above the untreated one's; None where none was."""
    return None if claim.reported is None else claim.reported[1] - claim.reported[0]


def verdict(claim: Claim, difference: Interval) -> str:
    """Whether the claim holds of this difference, and of the reported number whether it is that large."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return "open: one pair of seeds has no interval"
    if claim.expects == "not higher":
        return "contradicted: it is higher" if low > 0 else "not contradicted: no gain is measurable"
    sign = 1 if claim.expects == "higher" else -1
    nearest, farthest = sorted((sign * low, sign * high))
    if farthest < 0:
        return f"contradicted: it is {'lower' if claim.expects == 'higher' else 'higher'}"
    gain = reported_gain(claim)
    if nearest <= 0:
        ruled_out = ", and the reported one is ruled out" if gain is not None and gain > high else ""
        return f"open: no difference is measurable{ruled_out}"
    if gain is None:
        return f"holds: it is {claim.expects}"
    if gain > high:
        return "holds in part: a gain, and a smaller one than reported"
    return "holds: a gain, and a larger one than reported" if gain < low else "holds: a gain as large as reported"


def is_share(claim: Claim) -> bool:
    """Whether the numbers are shares, shown in % and points; else they are losses."""
    return claim.column.endswith("accuracy")


def number_text(claim: Claim, value: float) -> str:
    return percent(value) if is_share(claim) else f"{value:.3f}"


def difference_text(claim: Claim, difference: Interval) -> str:
    """'+4.0 points (95 % interval 1.5 to 6.5, n = 3)'; of a loss without 'points'."""
    unit = " points" if is_share(claim) else ""
    value = points(difference.mean) if is_share(claim) else _signed(difference.mean)
    if difference.low is None or difference.high is None:
        return f"{value}{unit} (one pair of seeds, so no interval)"
    interval = (
        span(difference.low, difference.high)
        if is_share(claim)
        else f"{_signed(difference.low)} to {_signed(difference.high)}"
    )
    return f"{value}{unit} (95 % interval {interval}, n = {difference.n})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def answers(reproduction: Reproduction) -> list[str]:
    """Of each claim of a gain that was printed, whether that is what comes out here, on every net that ran."""
    found: dict[str, list[Judgement]] = {}
    for one in judgements(reproduction):
        if (reported_gain(one.claim) or 0) > 0 and one.difference is not None:
            found.setdefault(one.claim.name, []).append(one)
    return [_answer(each) for each in found.values()]


def _answer(each: list[Judgement]) -> str:
    claim = each[0].claim
    gain = reported_gain(claim)
    assert claim.reported is not None
    assert gain is not None
    untreated, treated = claim.reported
    return (
        f"Is the reported gain of {percent(gain)} points ({percent(untreated)} → {percent(treated)} %) what a test "
        f"split shows that chose nothing? The claim is that {claim.says}. {' '.join(map(_on_net, each))}"
    )


def _on_net(one: Judgement) -> str:
    assert one.before is not None
    assert one.after is not None
    assert one.difference is not None
    return (
        f"{one.net}, {one.obstacle or 'in full'}: {percent(one.before.mean)} → {percent(one.after.mean)} %, "
        f"{difference_text(one.claim, one.difference)}; {one.verdict}."
    )
