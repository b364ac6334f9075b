"""Where a delivered file lost its accuracy: one stage of the chain replaced at a time, all on the same images."""

from __future__ import annotations

__all__ = ["AttributeOptions", "attribute"]

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import is_up_to_date, refuse_pixels, write_result
from resnet_deploy.core.errors import (
    ConfigError,
    EngineRunError,
    MissingDependencyError,
    ResnetDeployError,
)
from resnet_deploy.core.files import check_writable
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.wrong_pixels import MISTAKES
from resnet_deploy.engine.availability import available_backends
from resnet_deploy.engine.open import backends_of
from resnet_deploy.pipeline.attribution.chain import Chain, Stage, find_chain
from resnet_deploy.pipeline.attribution.words import sentence_of, steps_in_words
from resnet_deploy.verify.accuracy import check_sampling, sampled_images
from resnet_deploy.verify.attribution.chain_network import Link
from resnet_deploy.verify.attribution.measure import Branch, ChainMeasurement, measure_chain
from resnet_deploy.verify.attribution.result import Attribution, NotRun, attribution_path, read_attribution
from resnet_deploy.verify.subject import Subject, choose_preprocess, named_preprocess, open_subject, subject_of

_PACKAGES = (
    "numpy",
    "pillow",
    "scipy",
    "torch",
    "onnxruntime-gpu",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeOptions:
    """What to split, and on which images.

    Attributes:
        candidate: The delivered file: ONNX or engine.
        reference: The network it is held against; None takes where the candidate's manifests begin.
        candidate_backend, reference_backend: None takes the file type's own.
        preprocess: How the candidate's images are prepared, where not as its manifest says.
        reference_preprocess: The same of the reference.
        pixels: Also measure what each of `data.wrong_pixels.MISTAKES` would cost.
        num_images: A stratified sample of that many; 0 takes all.
        labels: Class names in label order, for files without a manifest.
        skip_bad: So many images may be unusable; they are left out and listed.
        out: None puts `<candidate's file name>.attribution.json` beside the candidate.
    """

    candidate: Path
    data: str
    reference: Path | None = None
    candidate_backend: str | None = None
    reference_backend: str | None = None
    split: str | None = None
    preprocess: str | None = None
    reference_preprocess: str | None = None
    pixels: bool = False
    num_images: int = 0
    batch_size: int = 64
    labels: tuple[str, ...] | None = None
    num_threads: int = 0
    seed: int = 0
    skip_bad: int = 0
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_sampling(self.batch_size, self.num_images, self.num_threads)
        if self.skip_bad < 0:
            raise ConfigError(f"skip_bad is {self.skip_bad}, expected 0 (none) or more")


def attribute(options: AttributeOptions, progress: Progress = NO_PROGRESS) -> Attribution:
    """Split the top-1 drop of a file by cause, and write the outcome.

    Files between that are not there are made in a temporary folder. A stage that can not be had or run is listed in
    `not_run`; its part is then in the step after it.

    Raises:
        ArtifactError: A file is missing, or was changed since its manifest was written.
        ConfigError: No manifest says how images are prepared or where the file comes from, and no option does.
        DataError: The images have no labels or other classes than the network.
        ResnetDeployError: The reference can not be run; or an ONNX candidate can not.
    """
    started = time.perf_counter()
    chain = find_chain(
        Path(options.candidate),
        options.candidate_backend,
        reference=options.reference,
        reference_backend=options.reference_backend,
    )
    source = sampled_images(options.data, options.split, options.num_images, options.seed)
    out = options.out or attribution_path(options.candidate)
    pixels = _pixel_paths(chain, options)
    record = _record(chain, pixels, source, options)
    if not options.force and is_up_to_date(out, **record):
        return replace(read_attribution(out), skipped=True)
    check_writable(out)
    bad = BadImages(options.skip_bad)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resnet-deploy-")))
        opener = _Opener(options, pixels, folder, stack, progress)
        links, branch = opener.open_chain(chain)
        found = measure_chain(
            source,
            links,
            branch=branch,
            mistakes=MISTAKES if options.pixels else (),
            batch_size=options.batch_size,
            num_threads=options.num_threads,
            bad=bad,
            progress=progress,
        )
    result = _result(out, options, chain, found, opener, source.description)
    result = replace(result, bad_images=tuple(map(str, bad)), seconds=time.perf_counter() - started)
    _write(out, result, subject_of(options.candidate, options.candidate_backend), record)
    return result


def _pixel_paths(chain: Chain, options: AttributeOptions) -> tuple[Preprocess, Preprocess]:
    """The reference's own pixels and the candidate's."""
    last, first = chain.stages[-1], chain.stages[0]
    for stage in (first, last):
        refuse_pixels(stage.file, subject_of(stage.file, None).manifest)
    reference = first.preprocess if options.reference_preprocess is None else None
    if reference is None:
        reference = choose_preprocess(subject_of(first.file, None), options.reference_preprocess)
    if options.preprocess is not None:
        return reference, named_preprocess(options.preprocess)
    return reference, choose_preprocess(subject_of(last.file, None), None)


def _record(
    chain: Chain, pixels: tuple[Preprocess, Preprocess], source: Any, options: AttributeOptions
) -> dict[str, Any]:
    """What the outcome depends on; also whether the candidate can run here, so that a GPU makes it anew."""
    inputs: dict[str, Any] = {stage.name: stage.file for stage in chain.stages if stage.file is not None}
    inputs["images"] = (source.description, source.fingerprint())
    last = chain.stages[-1]
    manifest = subject_of(last.file, last.backend).manifest
    backend = last.backend or (manifest.details.get("product") if manifest else None) or backends_of(last.file)[0]
    runs = {status.name: status.available for status in available_backends()}
    recorded: dict[str, Any] = {
        "backends": [stage.backend for stage in chain.stages],
        "causes": [stage.cause for stage in chain.stages],
        "preprocess": pixels,
        "pixels": options.pixels,
        "candidate_runs": runs.get(backend, False),
    }
    if options.labels is not None:
        recorded["labels"] = options.labels
    if options.skip_bad:
        recorded["skip_bad"] = options.skip_bad
    return {"stage": "attribute", "inputs": inputs, "options": recorded}


class _Opener:
    """Makes and opens the stages of a chain, and lists those that can not be had."""

    def __init__(
        self,
        options: AttributeOptions,
        pixels: tuple[Preprocess, Preprocess],
        folder: Path,
        stack: ExitStack,
        progress: Progress,
    ) -> None:
        self._options, self._pixels = options, pixels
        self._folder, self._stack, self._progress = folder, stack, progress
        self.not_run: list[NotRun] = []
        self.notes: list[str] = []

    def open_chain(self, chain: Chain) -> tuple[list[Link], Branch | None]:
        """Links in order; a stage that is left out hands its cause on to the next.

        Raises:
            ResnetDeployError: The reference can not be opened, or only it can; or the candidate is an ONNX file and
                can not.
        """
        first, *rest = chain.stages
        reference = self._open(first, self._pixels[0])
        links = [reference]
        # the reference may take images of one size alone, which need not be the candidate's
        pending = ["preprocessing"]
        if (reason := _misfit(reference, self._pixels[1])) is None:
            links.append(
                replace(
                    reference,
                    name=f"{reference.name}, candidate's pixels",
                    cause="preprocessing",
                    preprocess=self._pixels[1],
                )
            )
            pending = []
        else:
            self.not_run.append(NotRun(cause="preprocessing", file=str(first.file), reason=reason))
        for stage in rest:
            pending.append(stage.cause)
            link = self._open_if_possible(stage, is_last=stage is chain.stages[-1])
            if link is not None:
                links.append(replace(link, cause=" + ".join(dict.fromkeys(pending))))
                pending = []
        if len(links) < 2 or links[-1].subject.file == reference.subject.file and len(links) == 2:
            raise MissingDependencyError(
                f"{self._options.candidate}: nothing after the reference can be run here: {self.not_run[-1].reason}",
                remedy="run it where the file runs, or name the ONNX file it was built from",
            )
        return links, self._open_branch(chain, links)

    def _open_branch(self, chain: Chain, links: list[Link]) -> Branch | None:
        names = [link.name for link in links]
        if chain.branch is None:
            return None
        start = next(i for i, stage in enumerate(chain.stages) if stage.cause == "quantisation") - 1
        wanted = [stage.name for stage in chain.stages[start : start + 3]]
        wanted[0] = f"{wanted[0]}, candidate's pixels" if start == 0 else wanted[0]
        if not set(wanted) <= set(names):
            return None
        link = self._open_if_possible(chain.branch, is_last=False)
        return None if link is None else Branch(link=link, start=names.index(wanted[0]))

    def _open_if_possible(self, stage: Stage, *, is_last: bool) -> Link | None:
        may_fail = (MissingDependencyError, EngineRunError) if is_last else ResnetDeployError
        if is_last and stage.cause != "engine" and not stage.cause.endswith("+ engine"):
            return self._open(stage, self._pixels[1])
        try:
            return self._open(stage, self._pixels[1])
        except may_fail as error:
            file = stage.file.name if stage.made is None else stage.made.name
            self.not_run.append(NotRun(cause=stage.cause, file=file, reason=error.message))
            return None

    def _open(self, stage: Stage, pixels: Preprocess) -> Link:
        file = stage.file
        if stage.made is not None:
            self._progress.log(f"made for this measurement: {stage.made.how}")
            file = stage.made.make(self._folder, self._progress)
        subject = subject_of(file, stage.backend, labels=self._options.labels)
        runner = self._stack.enter_context(
            open_subject(subject, num_threads=self._options.num_threads, preprocess=pixels)
        )
        link = Link(
            name=stage.name,
            cause=stage.cause,
            subject=subject,
            runner=runner,
            preprocess=pixels,
            shown=str(file) if stage.made is None else stage.made.name,
            made=stage.made is not None,
            how=stage.made.how if stage.made else "",
        )
        return link


def _misfit(link: Link, pixels: Preprocess) -> str | None:
    """Why a network that is open does not take such images; None where it does."""
    sides = link.runner.info.inputs[0].shape[2:]
    fixed = [side for side in sides if isinstance(side, int) and side > 0]
    if len(fixed) == 2 and tuple(fixed) != pixels.input_shape[1:]:
        return (
            f"the reference takes images of {fixed[0]}x{fixed[1]} px, the candidate's are "
            f"{pixels.height_px}x{pixels.width_px} px"
        )
    return None


def _result(
    out: Path, options: AttributeOptions, chain: Chain, found: ChainMeasurement, opener: _Opener, data: str
) -> Attribution:
    manifest = subject_of(options.candidate, None).manifest
    losing = [step for step in found.steps if step.distinguishable and step.drop > 0]
    largest = max(losing, key=lambda step: step.drop).cause if losing else ""
    not_run = (*chain.gaps, *opener.not_run)
    notes = [*found.notes, *steps_in_words(found, chain.branch is not None)]
    return Attribution(
        file=str(out),
        net=manifest.net.name if manifest and manifest.net else "",
        reference=str(chain.stages[0].file),
        candidate=str(options.candidate),
        data=data,
        num_images=found.num_images,
        files=found.files,
        steps=found.steps,
        total=found.total,
        interaction=found.interaction,
        largest=largest,
        sentence=sentence_of(found, largest, reached=found.files[-1].name == chain.stages[-1].name),
        not_run=not_run,
        notes=tuple(notes),
        pixel_alternatives=found.pixel_alternatives,
    )


def _write(out: Path, result: Attribution, candidate: Subject, record: dict[str, Any]) -> None:
    write_result(
        result,
        out,
        kind="attribution",
        packages=_PACKAGES,
        parent=candidate.manifest,
        precision=candidate.manifest.precision if candidate.manifest else None,
        details={"largest": result.largest, "top1_drop": result.total.drop, "sentence": result.sentence},
        **record,
    )
