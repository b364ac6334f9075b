"""Does the verdict's statistics keep what it promises: false alarms, power, and the sequential mode's errors.

    python benchmarks/verdict_statistics.py --network resnet20.fp32.onnx --data test.tar [--repetitions 200] [--null-repetitions 1000]

The logits of a real network on real images are recorded once. Each repetition draws as many images from them, with
replacement, changes logits as the experiment says, and puts both sides through the comparison and the judgement that
`resnet-deploy validate` uses; runners that play the logits back take the place of the networks.

- Null: both sides are the network plus independent noise of the same size, so neither is better, and 1.4 % of the
  images flip, about as between FP32 and INT8. What is found significant is a false alarm.
- Power: on top of that, right answers of the candidate are made wrong at random until it loses 0.2 to 3 points.
- Sequential: counts with a known true drop are looked at after every 250 images, up to 50,000.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_deploy.core.metrics import wilson_interval
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.data.batches import Batch, input_batches
from resnet_deploy.data.source import ImageSource, open_images
from resnet_deploy.engine.contract import RunnerInfo, logits_of
from resnet_deploy.verify.comparison import Comparison
from resnet_deploy.verify.judgement import judge
from resnet_deploy.verify.statistics.result import Conclusion
from resnet_deploy.verify.statistics.sample_size import detection_power, images_to_prove, proof_power
from resnet_deploy.verify.statistics.sequential import SequentialTest
from resnet_deploy.verify.subject import Subject, choose_preprocess, open_subject, subject_of
from resnet_deploy.verify.thresholds import Limits, Thresholds, resolve_limits
from resnet_deploy.verify.verdict import Side, Verdict

LEVEL, MAX_DROP, BATCH = 0.05, 0.5, 500
DROPS = (0.2, 0.3, 0.4, 1.0, 3.0)
SEQUENTIAL_DROPS = (0.0, 0.2, 0.5, 1.0, 3.0)
LOOK_EVERY, MOST_IMAGES = 250, 50_000
FIRST = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Logits [N, K] of a network on labelled images, and the labels."""

    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


class DrawnImages:
    """As many images as the recording has, drawn from it with replacement."""

    description = "drawn images"

    def __init__(self, recording: Recording, rng: np.random.Generator) -> None:
        self.classes = recording.classes
        self.drawn = rng.integers(0, len(recording.labels), len(recording.labels))
        self.labels = recording.labels[self.drawn]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"image {self.drawn[index]}"


class Playback:
    """A runner whose answer to the image that holds the number i is row i of its logits."""

    def __init__(self, logits: np.ndarray) -> None:
        image = TensorSpec(name="images", dtype="float32", shape=("N", 3, 1, 1))
        output = TensorSpec(name="logits", dtype="float32", shape=("N", logits.shape[1]))
        self.info = RunnerInfo(
            backend="playback", version="", device="", file="recording", inputs=(image,), outputs=(output,)
        )
        self._logits = logits

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": self._logits[feeds["images"][:, 0, 0, 0].astype(np.int64)]}


def record(network: Path, data: str, split: str | None) -> Recording:
    """Run a network over a data set."""
    subject, source = subject_of(network, None), open_images(data, split=split)
    spec = choose_preprocess(subject, None)
    with open_subject(subject, num_threads=0, preprocess=spec) as runner:
        rows = [logits_of(runner, batch.images) for batch in input_batches(source, spec, batch_size=BATCH)]
    return Recording(logits=np.concatenate(rows), labels=source.labels, classes=source.classes)


def compare(source: ImageSource, reference: np.ndarray, candidate: np.ndarray, limits: Limits) -> Verdict:
    """The verdict on two sets of logits, as `validate` takes it."""
    subject = Subject(file=Path("recording"), backend=None, manifest=None, labels=source.classes)
    runners = Playback(reference), Playback(candidate)
    comparison = Comparison(source, (subject, subject), runners)
    for start in range(0, len(source), BATCH):
        places = np.arange(start, min(start + BATCH, len(source)))
        images = np.broadcast_to(places[:, None, None, None].astype(np.float32), (len(places), 3, 1, 1))
        batch = Batch(images=images, labels=source.labels[places], indices=places)
        comparison.add(batch, batch)
    sides = tuple(
        Side(file="", sha256="", backend="playback", version="", device="", precision=None, accuracy=accuracy)
        for accuracy in comparison.accuracies()
    )
    return judge(comparison, sides, limits, level=LEVEL)


def with_noise(logits: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Logits [N, K] and normal noise of that standard deviation, float32."""
    return logits + rng.normal(0, size, logits.shape).astype(np.float32)


def lose(logits: np.ndarray, labels: np.ndarray, points: float, rng: np.random.Generator) -> np.ndarray:
    """Swap first and second class of right answers at random, so that `points` of all answers are lost on average."""
    first = logits.argmax(axis=1)
    right = np.flatnonzero(first == labels)
    swapped = right[rng.random(len(right)) < points / 100 * len(labels) / len(right)]
    second = np.argsort(-logits[swapped], axis=1)[:, 1]
    changed = logits.copy()
    changed[swapped, first[swapped]], changed[swapped, second] = (
        logits[swapped, second],
        logits[swapped, first[swapped]],
    )
    return changed


def null_experiment(recording: Recording, limits: Limits, noise: float, repetitions: int) -> dict[str, Any]:
    """The network against itself; against itself plus a little noise; and twice with as much noise, again and again."""
    rng = np.random.default_rng(0)
    drawn = DrawnImages(recording, rng)
    logits = recording.logits[drawn.drawn]
    itself = compare(drawn, logits, logits.copy(), limits)
    near = compare(drawn, logits, with_noise(logits, noise / 100, rng), limits)
    verdicts = []
    for _ in range(repetitions):
        drawn = DrawnImages(recording, rng)
        logits = recording.logits[drawn.drawn]
        verdicts.append(compare(drawn, with_noise(logits, noise, rng), with_noise(logits, noise, rng), limits))
    first = min(FIRST, repetitions)
    return {
        "itself": _row(itself),
        "noise far under a margin": _row(near),
        "all": _false_alarms(verdicts),
        f"the first {first}": _false_alarms(verdicts[:first]),
    }


def _false_alarms(verdicts: list[Verdict]) -> dict[str, Any]:
    scores = [verdict.statistics.top1 for verdict in verdicts]
    classes = [verdict.statistics.class_regressions.num_significant > 0 for verdict in verdicts]
    return {
        "repetitions": len(verdicts),
        "passed": sum(verdict.passed for verdict in verdicts),
        "mean flips %": round(float(np.mean([v.statistics.flips.rate.percent for v in verdicts])), 2),
        "mid-p < level": _share([score.p_mid < LEVEL for score in scores]),
        "exact p < level": _share([score.p_exact < LEVEL for score in scores]),
        "top-5 mid-p < level": _share([verdict.statistics.top5.p_mid < LEVEL for verdict in verdicts]),
        "interval misses 0": _share([not score.drop_low <= 0 <= score.drop_high for score in scores]),
        "a class is called worse": _share(classes),
    }


def power_experiment(recording: Recording, limits: Limits, noise: float, repetitions: int) -> list[dict[str, Any]]:
    """Planted drops: how often they are found, against the prediction from drop and discordance."""
    rows = []
    for points in DROPS:
        rng = np.random.default_rng(1)
        found = []
        for _ in range(repetitions):
            drawn = DrawnImages(recording, rng)
            logits = recording.logits[drawn.drawn]
            candidate = lose(with_noise(logits, noise, rng), drawn.labels, points, rng)
            found.append(compare(drawn, with_noise(logits, noise, rng), candidate, limits).statistics)
        count = len(recording.labels)
        differing = [one.top1.num_only_reference + one.top1.num_only_candidate for one in found]
        discordance = float(np.mean(differing)) / count
        conclusions = [one.decision.conclusion for one in found]
        within = proof_power(count, MAX_DROP / 100, points / 100, discordance, level=LEVEL)
        rows.append(
            {
                "planted drop": points,
                "mean drop": round(float(np.mean([one.top1.drop for one in found])), 3),
                "discordance %": round(100 * discordance, 3),
                "detected": _share([one.top1.differs and one.top1.drop > 0 for one in found]),
                "predicted": round(100 * detection_power(count, points / 100, discordance, level=LEVEL), 1),
                f"proven under {MAX_DROP}": _share([said is Conclusion.WITHIN for said in conclusions]),
                f"predicted to be proven under {MAX_DROP}": round(100 * within, 1),
                f"proven over {MAX_DROP}": _share([said is Conclusion.BEYOND for said in conclusions]),
            }
        )
    return rows


def sequential_experiment(discordance: float, repetitions: int) -> list[dict[str, Any]]:
    """Known true drops: what the looks conclude, and after how many images."""
    rows = []
    for points in SEQUENTIAL_DROPS:
        rng = np.random.default_rng(2)
        drop = points / 100
        differing = max(discordance, drop)
        lost, won = (differing + drop) / 2, (differing - drop) / 2
        seen, verdicts = [], []
        for _ in range(repetitions):
            test = SequentialTest(max_drop=MAX_DROP, min_agreement=0.9, level=LEVEL, num_available=MOST_IMAGES)
            steps = rng.multinomial(LOOK_EVERY, [lost, won, 1 - lost - won], size=MOST_IMAGES // LOOK_EVERY)
            for number, (b, c, _) in enumerate(steps.cumsum(axis=0).tolist(), start=1):
                if test.look(number * LOOK_EVERY, b + c, b, c):
                    break
            run = test.result()
            seen.append(run.num_images)
            verdicts.append("under" if run.drop_high < MAX_DROP else "over" if run.drop_low > MAX_DROP else "")
        fixed = images_to_prove(MAX_DROP / 100, drop, differing, level=LEVEL, power=0.8)
        rows.append(
            {
                "true drop": points,
                "repetitions": repetitions,
                "said under": _share([said == "under" for said in verdicts]),
                "said over": _share([said == "over" for said in verdicts]),
                "mean images": round(float(np.mean(seen))),
                "decided within 10,000 %": round(100 * float(np.mean(np.array(seen) <= 10_000)), 1),
                "a fixed sample for power 0.8": fixed,
            }
        )
    return rows


def _row(verdict: Verdict) -> dict[str, Any]:
    found = verdict.statistics
    return {
        "passed": verdict.passed,
        "flips": found.flips.rate.num_hits,
        "p": round(found.top1.p_mid, 4),
        "drop": round(found.top1.drop, 3),
        "conclusion": str(found.decision.conclusion),
        "SQNR dB": round(verdict.parity.sqnr_db, 1),
    }


def _share(hits: list[bool]) -> dict[str, float]:
    low, high = wilson_interval(sum(hits), len(hits))
    return {"%": round(100 * sum(hits) / len(hits), 1), "low": round(100 * low, 1), "high": round(100 * high, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, required=True, help="a network of the chain, e.g. resnet20.fp32.onnx")
    parser.add_argument("--data", required=True, help="labelled images, as for `validate`")
    parser.add_argument("--split", help="which part of them")
    parser.add_argument(
        "--noise",
        type=float,
        default=0.2,
        help="standard deviation on the logits; 0.2 flips 1.4 %% of ResNet-20's answers",
    )
    parser.add_argument("--repetitions", type=int, default=200, help="of each planted and each true drop")
    parser.add_argument("--null-repetitions", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/verdict-statistics.json"))
    options = parser.parse_args()
    recording = record(options.network, options.data, options.split)
    print(f"recorded {len(recording.labels)} images", file=sys.stderr)
    # Errors are not in question here, so their limits are wide; agreement is held to INT8's.
    limits = resolve_limits(
        Thresholds(max_top1_drop=MAX_DROP, min_agreement=0.97, min_cosine=0.9, min_sqnr_db=10), None
    )
    null = null_experiment(recording, limits, options.noise, options.null_repetitions)
    print(json.dumps(null, indent=1), file=sys.stderr)
    power = power_experiment(recording, limits, options.noise, options.repetitions)
    print(json.dumps(power, indent=1), file=sys.stderr)
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {multiprocessing.cpu_count()} processors",
        "command": " ".join(["python", *sys.argv]),
        "network": options.network.name,
        "images": len(recording.labels),
        "top-1 %": round(100 * float((recording.logits.argmax(axis=1) == recording.labels).mean()), 2),
        "level": LEVEL,
        "noise": options.noise,
        "null": null,
        "power": power,
        "sequential": sequential_experiment(power[0]["discordance %"] / 100, options.repetitions),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["sequential"], indent=1))


if __name__ == "__main__":
    main()
