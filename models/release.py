"""Copy a finished training run into the zoo, with a model card made from its manifest.

    python models/release.py out/zoo/resnet20.safetensors --command "resnet-deploy train ..." --note "..."

Weights, manifest, metrics, curves and recipe are copied as they are; `models/README.md` is written anew from all cards.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, read_manifest
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import load_checkpoint
from resnet_deploy.nets.cost import net_cost

ZOO = Path(__file__).resolve().parent
LARGEST_BYTES = 4_000_000
COPIED = ("safetensors", "safetensors.json", "metrics.jsonl", "curves.png", "recipe.toml")
CAVEAT = (
    "The images are CIFAR-10 as **lossy JPEGs** (quality 75, 4:2:0 chroma): a net trained on the original pixels loses "
    "about ten points on them. The figures are comparable among themselves, **not with the paper's**."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="as `train` wrote it, its other files beside it")
    parser.add_argument("--name", help="folder in models/; by default the net's name")
    parser.add_argument("--command", required=True, help="the command that trained it")
    parser.add_argument("--note", default="", help="what a user must know besides")
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(arguments.checkpoint)  # refuses changed or unfinished files
    if checkpoint.manifest.size_bytes > LARGEST_BYTES:
        parser.error(f"{arguments.checkpoint} has {checkpoint.manifest.size_bytes} bytes, at most {LARGEST_BYTES}")
    name = arguments.name or checkpoint.spec.name
    folder = ZOO / name
    folder.mkdir(exist_ok=True)
    stem = arguments.checkpoint.stem
    for ending in COPIED:
        target = folder / f"{stem}.{ending}"
        shutil.copyfile(arguments.checkpoint.with_name(f"{stem}.{ending}"), target)
    (folder / "README.md").write_text(card(name, stem, checkpoint.manifest, arguments.command, arguments.note))
    write_index()


def card(name: str, stem: str, manifest: Manifest, command: str, note: str) -> str:
    """The model card, from what the run recorded."""
    details, spec = manifest.details, find_net(manifest.net.name)
    cost = net_cost(spec, num_classes=manifest.net.num_classes)
    how = manifest.options["how"]
    what = (
        f"`{spec.name}`, {manifest.net.num_classes} classes, {cost.parameters:,} parameters, "
        f"{cost.multiply_adds:,} multiply-adds at {spec.preprocess.height_px} px."
    )
    computed = [
        "float32" if how["amp"] == "off" else how["amp"],
        *(["compiled"] if how["compile"] else []),
        f"on {details['device']}",
        f"{details['seconds'] / 3600:.1f} hours",
    ]
    lines = [
        f"# {name}",
        "",
        what,
        "",
        CAVEAT,
        "",
        f"![Training and test error]({stem}.curves.png)",
        "",
        "| | |",
        "|---|---|",
        f"| test error (top-1, single view, last weights) | {100 - details['top1_percent']:.2f} % |",
        f"| training error (augmented images, last row of the metrics) | {details['train_error_percent']:.2f} % |",
        f"| images | {details['num_train_images']:,} to learn from, {details['num_val_images']:,} to measure on |",
        f"| length | {details['steps']:,} steps, {details['epochs']:.4g} epochs |",
        f"| recipe | {manifest.options['recipe']['name']} ([file]({stem}.recipe.toml)) |",
        f"| computed in | {', '.join(computed)} |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in manifest.versions.items())} |",
        f"| trained | {manifest.created[:10]}, seed {manifest.options['seed']} |",
        f"| SHA-256 | `{manifest.sha256}` |",
        "",
        *([note, ""] if note else []),
        "    " + command,
        "",
        f"Files: [weights]({stem}.safetensors), [manifest]({stem}.safetensors.json), [metrics]({stem}.metrics.jsonl).",
        "Weights: Apache-2.0, as the project. CIFAR-10 is by A. Krizhevsky, V. Nair and G. Hinton.",
        "",
    ]
    return "\n".join(lines)


def write_index() -> None:
    """`models/README.md`: one row a net."""
    rows = []
    for manifest_file in sorted(ZOO.glob("*/*.safetensors.json")):
        manifest = read_manifest(manifest_file.with_suffix(""))
        plain = json.loads(manifest_file.read_text())
        details, folder = plain["details"], manifest_file.parent.name
        rows.append(
            f"| [{folder}]({folder}/README.md) | {manifest.net.name} | {manifest.options['recipe']['name']} | "
            f"{details['steps']:,} | {details['train_error_percent']:.2f} | {100 - details['top1_percent']:.2f} |"
        )
    text = [
        "# The zoo",
        "",
        CAVEAT,
        "",
        "| folder | net | recipe | steps | training error % | test error % |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "![Plain nets beside residual ones](degradation.png)",
        "",
        "The degradation and its cure: on the same budget the deeper plain net has the higher *training* error, the deeper",
        "residual net the lower one (`resnet-deploy analyze curves models/*/*.metrics.jsonl --panels`).",
        "",
        "Test error is of all 10,000 test images, single view, with the last weights; no checkpoint was chosen by it.",
        "Training error is of the augmented images over the last epoch. Made by `models/release.py` from each run's",
        "manifest.",
        "",
    ]
    (ZOO / "README.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
