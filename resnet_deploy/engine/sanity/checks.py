"""The checks of the sanity gate, one function each: what it runs, and what it measures."""

from __future__ import annotations

__all__ = ["CHECKS", "Measured"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.sanity.answers import Difference, differing_bits, first_nonfinite
from resnet_deploy.engine.sanity.limits import rounding_limit
from resnet_deploy.engine.sanity.session import SanitySession, SanityStop

_NUM_REPEATS = 3
_REPEATED_BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a check found.

    Attributes:
        value, limit: Shares of the largest output; for "finite", images.
        where: The first or worst place; empty where nothing is wrong.
        note: What a reader should know of a check that passed.
    """

    passed: bool
    value: float
    limit: float
    where: str = ""
    note: str = ""
    relation: str = "<="


def finite(session: SanitySession, _batches: Sequence[int]) -> Measured:
    """No output of any legal image is NaN or infinite."""
    found = first_nonfinite(session.alone)
    if found is None:
        return Measured(passed=True, value=0, limit=0)
    row, output, count = found
    bad = sum(
        bool(first_nonfinite({name: rows[index : index + 1] for name, rows in session.alone.items()}))
        for index in range(len(session.images.names))
    )
    where = f"{session.images.names[row]}: {count} values of output {output} are NaN or infinite"
    return Measured(passed=False, value=bad, limit=0, where=where)


def answers_differ(session: SanitySession, _batches: Sequence[int]) -> Measured:
    """Different images get different answers: the two farthest apart are so by more than rounding."""
    apart, limit = session.farthest, rounding_limit(Precision.FP32)
    where = f"all {len(session.images.rows)} images get the same answer, but for rounding"
    passed = apart > limit
    return Measured(passed=passed, value=apart, limit=limit, relation=">", where="" if passed else where)


def repeat(session: SanitySession, batches: Sequence[int]) -> Measured:
    """The same call gives the same bits, at once and after calls of the smallest and the largest batch."""
    size = max(batch for batch in batches if batch <= max(_REPEATED_BATCH, session.smallest))
    images = [row % len(session.images.rows) for row in range(size)]
    first = session.run(images)
    for call in range(1, _NUM_REPEATS + 1):
        if call == _NUM_REPEATS:
            for other in {batches[0], batches[-1]} - {size}:
                if not session.refusal(other):
                    session.run([0] * other)
        got = session.run(images)
        if (found := differing_bits(got, first)) is not None:
            row, output = found
            after = " after other batch sizes" if call == _NUM_REPEATS else ""
            where = f"call {call + 1} of batch {size}{after}: row {row} of output {output} is not what it was"
            return Measured(passed=False, value=session.scale.difference(got, first).value, limit=0, where=where)
    return Measured(passed=True, value=0, limit=0)


def duplicate_rows(session: SanitySession, batches: Sequence[int]) -> Measured:
    """Rows of one batch that hold the same image get the same answer, whatever their place."""
    found: list[tuple[Difference, int]] = []
    same_bits = True
    sizes, note = _affordable(session, batches)
    for alike, size in zip((session.probes[:1] or [0], session.probes[:2] or [0]), reversed(sizes), strict=False):
        rows = [alike[row % len(alike)] for row in range(size)]  # in the second batch another image between duplicates
        got = session.run(rows)
        expected = {name: values[[rows.index(index) for index in rows]] for name, values in got.items()}
        same_bits &= differing_bits(got, expected) is None
        found.append((session.scale.difference(got, expected), size))
    difference, size = max(found, key=_value)
    note = "; ".join(filter(None, ["" if same_bits else "equal within rounding, not bit for bit", note]))
    return _judged(difference, session.limit, f"batch {size}: row {difference.row} differs from its duplicate", note)


def permuted_rows(session: SanitySession, batches: Sequence[int]) -> Measured:
    """A batch in another order gives the same answers in that order."""
    _need_probes(session)
    found: list[tuple[Difference, int]] = []
    sizes, note = _affordable(session, batches)
    for size in sizes:
        rows = session.probe_batch(size, draw=0)
        straight = session.run(rows)
        order = list(range(size))[::-1]
        if size == sizes[-1]:
            order = [int(row) for row in np.random.default_rng(size).permutation(size)]
        got = session.run([rows[row] for row in order])
        found.append((session.scale.difference(got, {name: values[order] for name, values in straight.items()}), size))
    difference, size = max(found, key=_value)
    where = f"batch {size}: row {difference.row} depends on the order of the rows"
    return _judged(difference, session.limit, where, note)


def batch_sizes(session: SanitySession, batches: Sequence[int]) -> Measured:
    """An image gets the same answer alone and in a batch of any size, the corners of every profile included."""
    _need_probes(session)
    # the largest first, which matters most where the time is short
    return _against_alone(session, [batches[-1], *batches[:-1]], draw=1)


def stale_rows(session: SanitySession, batches: Sequence[int]) -> Measured:
    """A small batch after a large one, and a large one after that, see no rows of the call before."""
    _need_probes(session)
    return _against_alone(session, [*batches[::-1], batches[-1], batches[0]], draw=2)


CHECKS: dict[str, Callable[[SanitySession, Sequence[int]], Measured]] = {
    "finite": finite,
    "answers differ": answers_differ,
    "repeat": repeat,
    "duplicate rows": duplicate_rows,
    "permuted rows": permuted_rows,
    "batch sizes": batch_sizes,
    "stale rows": stale_rows,
}
"""Name -> check, in the order they are run."""


def _affordable(session: SanitySession, batches: Sequence[int]) -> tuple[list[int], str]:
    """The two largest batches of several rows that there is time and memory for, and a word on larger ones.

    Raises:
        SanityStop: There is none.
    """
    several = [batch for batch in batches if batch > 1]
    affordable = [batch for batch in several if not session.refusal(batch)]
    if not affordable:
        raise SanityStop(f"batch {several[0]} is not run: {session.refusal(several[0])}")
    if affordable[-1] == several[-1]:
        return affordable[-2:], ""
    return affordable[-2:], f"batch {several[-1]} is not run: {session.refusal(several[-1])}"


def _value(found: tuple[Difference, int]) -> float:
    return found[0].value


def _against_alone(session: SanitySession, batches: Sequence[int], *, draw: int) -> Measured:
    """Run the batches in this order, in every row another image than in the batch before; the worst row against the image alone."""
    worst: tuple[Difference, int, int] | None = None
    failed, passed = set(), set()
    not_run: dict[str, set[int]] = {}
    before: list[int] = []
    for size in batches:
        if reason := session.refusal(size):
            not_run.setdefault(reason, set()).add(size)
            continue
        rows = session.probe_batch(size, draw=draw, before=before)
        found = session.scale.difference(session.run(rows), session.expected(rows))
        (passed if found.value <= session.limit else failed).add(size)
        if worst is None or found.value > worst[0].value:
            worst = found, size, len(before)
        before = rows
    if not_run and not failed:
        left_out = "; ".join(f"batch {_listed(sizes)} is not run: {reason}" for reason, sizes in not_run.items())
        raise SanityStop(f"{left_out}; right so far: batch {_listed(passed) or 'none'}")
    assert worst is not None
    difference, size, previous = worst
    after = f" after batch {previous}" if previous else ""
    also = f"; also wrong: batch {_listed(failed - {size})}" if failed - {size} else ""
    where = f"batch {size}{after}: row {difference.row} is not what the image gets alone{also}"
    return _judged(difference, session.limit, where)


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _judged(difference: Difference, limit: float, where: str, note: str = "") -> Measured:
    passed = difference.value <= limit
    return Measured(
        passed=passed,
        value=difference.value,
        limit=limit,
        where="" if passed else f"{where} (output {difference.output})",
        note=note if passed else "",
    )


def _need_probes(session: SanitySession) -> None:
    if not session.can_tell_rows_apart:
        raise SanityStop(
            f"the answers to different images are at most {session.farthest:.2g} of the largest output apart, too near "
            f"to rounding ({session.limit:.2g}) to tell rows apart"
        )
