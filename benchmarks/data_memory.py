"""Peak memory of data loading at 5,000 and at 50,000 images, each in a process of its own.

    python benchmarks/data_memory.py --cifar FOLDER [--counts 5000 50000] [--out docs/benchmarks/data-memory.json]

FOLDER holds CIFAR-10 as `train.tar`, a folder per class. Three ways to train on a set are measured: decoding it with
workers into a pixel cache and reading random batches from that (CIFAR); and streaming random crops of 500 x 375 px
JPEGs from class folders and from WebDataset shards, whose images are hard links to, or copies of, a few files, since
only their number is in question. Opening the set for the first time, without a kept index, is part of it.

What is given is the peak resident memory of the reading process, of its largest worker, and own + workers x largest.
Workers are forked and share most of their pages with the parent, so that sum counts shared pages several times.
The bound on the growth is 100 bytes an image (index, name and label), 4.3 MiB between the two counts, and noise.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 128
WORKERS = 2
NUM_ORIGINALS = 50
NUM_READ = 4096  # of the streamed images: so many that every worker has touched the whole block of crops
BYTES_AN_IMAGE = 100
NOISE_MIB = 4.0  # allocator and interpreter: what two runs of the same count differ by, at most


def _cached(data: str, count: int, work: Path) -> None:
    import numpy as np

    from resnet_deploy.core.specs import Preprocess
    from resnet_deploy.data import pixel_cache
    from resnet_deploy.data.source import open_images

    pixel_cache._ALONE_S = 0.0  # so that workers are measured at both counts, not only at the larger one
    rule = Preprocess(height_px=32, width_px=32, resize_shorter_px=None, mean=(0.5,) * 3, std=(0.25,) * 3)
    source = open_images(data)
    if len(source) != count:
        sys.exit(f"{data} holds {len(source)} images, expected {count}")
    cache = pixel_cache.make_pixel_cache(source, rule, work / "c.pixels", num_workers=WORKERS)
    rng = np.random.default_rng(0)
    for order in (rng.permutation(count) for _ in range(2)):
        for start in range(0, count, BATCH):
            cache.read(order[start : start + BATCH])


def _streamed(data: str, count: int, work: Path) -> None:
    import numpy as np

    from resnet_deploy.data.random_crops import crop_batches
    from resnet_deploy.data.source import open_images

    source = open_images(data)
    if len(source) != count:
        sys.exit(f"{data} holds {len(source)} images, expected {count}")
    order = np.random.default_rng(0).permutation(count)[:NUM_READ]
    batches = ((order[i : i + BATCH], order[i : i + BATCH] + 7) for i in range(0, len(order), BATCH))
    for pixels, _ in crop_batches(source, batches, crop_px=224, scale_px=(256, 480), num_workers=WORKERS):
        pixels.sum()


def _photograph(seed: int) -> bytes:
    """A JPEG of 500 x 375 px with the size of a photograph's, about 30 kB."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def make_cifar(root: Path, cifar: Path, count: int) -> Path:
    """A .tar of the first `count` / 10 images of each class."""
    taken: dict[str, int] = {}
    file = root / f"cifar-{count}.tar"
    with tarfile.open(cifar / "train.tar") as source, tarfile.open(file, "w") as target:
        for member in source:
            label = Path(member.name).parent.name
            if member.isfile() and taken.get(label, 0) < count // 10:
                taken[label] = taken.get(label, 0) + 1
                target.addfile(member, source.extractfile(member))
    return file


def make_folder(root: Path, count: int) -> Path:
    """`count` names in 100 class folders, hard links to a few files."""
    originals = []
    for seed in range(NUM_ORIGINALS):
        file = root / f".original-{count}-{seed}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_photograph(seed))
        originals.append(file)
    folder = root / f"folder-{count}"
    for number in range(count):
        file = folder / f"n{number % 100:08d}" / f"n{number % 100:08d}_{number}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % NUM_ORIGINALS], file)
    return folder


def make_shards(root: Path, count: int) -> Path:
    """`count` samples in shards of 1,000."""
    originals = [_photograph(seed) for seed in range(NUM_ORIGINALS)]
    folder = root / f"shards-{count}"
    folder.mkdir(parents=True)
    for first in range(0, count, 1000):
        with tarfile.open(folder / f"set-train-{first // 1000:06d}.tar", "w") as archive:
            for number in range(first, min(first + 1000, count)):
                label = str(number % 100).encode()
                for suffix, data in (("jpg", originals[number % NUM_ORIGINALS]), ("cls", label)):
                    info = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder


def _child(read: Callable, arguments: tuple, results: multiprocessing.Queue) -> None:
    import numpy  # noqa: F401  (imports are not what is measured)
    from PIL import Image

    Image.init()
    before = _own_peak_mib()
    started = time.perf_counter()
    read(*arguments)
    own = _own_peak_mib()
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    results.put((before, own, worker, time.perf_counter() - started))


def _own_peak_mib() -> float:
    """Of this program; `getrusage` would count what the process was before it began this program, too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _measure(read: Callable, arguments: tuple) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_child, args=(read, arguments, results))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{read.__name__} ended with {process.exitcode}")
    before, own, worker, seconds = results.get()
    return {
        "imports_mib": round(before, 1),
        "own_peak_mib": round(own, 1),
        "largest_worker_mib": round(worker, 1),
        "sum_mib": round(own + WORKERS * worker, 1),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", required=True, help="folder with CIFAR-10 as train.tar")
    parser.add_argument("--counts", type=int, nargs=2, default=(5000, 50000))
    parser.add_argument("--work", type=Path, help="folder for the temporary sets (about 2 GB)")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/data-memory.json"))
    options = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        os.environ["HOME"] = name  # kept indexes go here, and none is found
        ways = {
            "pixel cache, CIFAR-10": (_cached, lambda count: str(make_cifar(work, Path(options.cifar), count))),
            "random crops, class folders": (_streamed, lambda count: str(make_folder(work, count))),
            "random crops, WebDataset shards": (_streamed, lambda count: str(make_shards(work, count))),
        }
        for way, (read, data_of) in ways.items():
            found = []
            for count in options.counts:
                found.append(_measure(read, (data_of(count), count, work)))
                print(f"{way}, {count} images: {found[-1]}", file=sys.stderr)
            growth = {
                f"{who}_growth_mib": round(found[1][key] - found[0][key], 1)
                for who, key in (("own", "own_peak_mib"), ("worker", "largest_worker_mib"))
            }
            rows.append({"way": way, "images": list(options.counts), "runs": found, **growth})
    bound = (options.counts[1] - options.counts[0]) * BYTES_AN_IMAGE / 2**20 + NOISE_MIB
    _report(rows, bound, options)
    if any(max(row["own_growth_mib"], row["worker_growth_mib"]) > bound for row in rows):
        sys.exit(f"memory grew by more than {bound:.1f} MiB")


def _report(rows: list[dict], bound: float, options: argparse.Namespace) -> None:
    from importlib.metadata import version

    report = {
        "machine": f"{platform.processor() or platform.machine()}, {multiprocessing.cpu_count()} processors",
        "versions": {name: version(name) for name in ("resnet-deploy", "numpy", "pillow")},
        "command": "python benchmarks/data_memory.py --cifar FOLDER --counts {} {}".format(*options.counts),
        "workers": WORKERS,
        "batch": BATCH,
        "streamed_images_read": NUM_READ,
        "bound_growth_mib": round(bound, 1),
        "bound": f"{BYTES_AN_IMAGE} bytes an image (index, name, label) and {NOISE_MIB} MiB of noise",
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'peak MiB':34}{'images':>8}{'own':>8}{'worker':>8}{'sum':>8}")
    for row in rows:
        for count, run in zip(row["images"], row["runs"], strict=True):
            print(
                f"{row['way']:34}{count:8}{run['own_peak_mib']:8.1f}{run['largest_worker_mib']:8.1f}{run['sum_mib']:8.1f}"
            )
        print(f"{'':34}{'growth':>8}{row['own_growth_mib']:8.1f}{row['worker_growth_mib']:8.1f}   at most {bound:.1f}")


if __name__ == "__main__":
    main()
