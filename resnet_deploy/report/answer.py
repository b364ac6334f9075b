"""Can it be shipped? The answer that a folder's evidence allows."""

from __future__ import annotations

__all__ = ["Answer", "answer_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.report.chain import ChainNode
from resnet_deploy.report.documents import Document
from resnet_deploy.report.networks import Network
from resnet_deploy.report.numbers import plural
from resnet_deploy.report.summary import failed_text
from resnet_deploy.verify.statistics.result import Conclusion
from resnet_deploy.verify.verdict import Verdict

_MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Can it be shipped?

    Attributes:
        tone: "good", "warn" or "bad".
        text: In a few words.
        why: What it rests on, or what stands against it; a sentence.
    """

    tone: str
    text: str
    why: str


def answer_of(networks: Sequence[Network], chain: Sequence[ChainNode]) -> Answer:
    """The answer of the folder: no where a verdict failed or a file is not what it says; yes only for what was run.

    An engine was built from an ONNX file, but its kernels are others: a verdict on the ONNX file does not prove it.
    """
    documents = [document for network in networks for document in network.verdicts]
    failed = [document for document in documents if not document.result.passed and not document.is_stale]
    faults = sum(node.num_faults for node in chain)
    if failed or faults:
        reasons = [failed_text(failed, documents)] if failed else []
        if faults:
            names = [name for node in chain for name in node.faulty]
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            reasons.append(
                f"{plural(faults, 'link')} of the chain of files {'is' if faults == 1 else 'are'} broken "
                f"({', '.join(names[:_MOST_NAMES])}{more})"
            )
        return _answer(tone="bad", text="No", why=f"{'; '.join(reasons)}.")
    sound = [document for document in documents if not document.is_stale]
    if not sound:
        why = "every verdict is out of date" if documents else "no verdict was taken"
        return _answer(tone="warn", text="Not known", why=f"{why}.")
    stale = len(documents) - len(sound)
    if stale:
        return _answer(tone="warn", text="Not proven", why=f"{plural(stale, 'verdict')} out of date: validate again.")
    passed = "its verdict passed" if len(sound) == 1 else f"all {len(sound)} verdicts passed"
    engines, unproven = _engines_without_verdict(networks, sound)
    if unproven == engines > 0:
        return _answer(
            tone="warn",
            text="Almost: the ONNX files pass, the engines have not been run",
            why=f"{passed}, on the files the engines were built from; run `validate` on a GPU to prove "
            f"{'the engine' if engines == 1 else f'the {engines} engines'}.",
        )
    undecided = [document for document in sound if _is_undecided(document.result)]
    if undecided:
        names = ", ".join(dict.fromkeys(Path(document.result.candidate.file).name for document in undecided))
        why = f"{passed}, but on too few images to prove the loss of {names} to be within its limit"
        return _answer(tone="warn", text="Probably", why=f"{why}.")
    if unproven:
        why = f"{passed}, but {unproven} of {plural(engines, 'engine')} {'has' if unproven == 1 else 'have'} none"
        return _answer(tone="warn", text="In part", why=f"{why}.")
    return _answer(tone="good", text="Yes", why=f"{passed}{', on the engines themselves' if engines else ''}.")


def _is_undecided(verdict: Verdict) -> bool:
    decision = verdict.statistics.decision if verdict.statistics else None
    return decision is not None and decision.conclusion is Conclusion.UNDECIDED


def _engines_without_verdict(networks: Sequence[Network], documents: Sequence[Document[Verdict]]) -> tuple[int, int]:
    """Number of engines of trained networks, and how many of them no verdict was taken on."""
    judged = {document.result.candidate.sha256 for document in documents}
    engines = [m for network in networks if not network.is_untrained for m in network.files("engine")]
    return len(engines), sum(manifest.sha256 not in judged for manifest in engines)


def _answer(*, tone: str, text: str, why: str) -> Answer:
    return Answer(tone=tone, text=text, why=why[:1].upper() + why[1:])
