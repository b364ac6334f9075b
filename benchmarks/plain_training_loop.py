"""The training loop that a newcomer writes, and that most public CIFAR scripts are: the peer of `training.py`.

float32, the default memory layout, a Dataset of PIL images with one transform after the other, a DataLoader with two
workers, SGD with momentum, `loss.item()` and the count of right answers after every step. Nothing of ours is used.
The transforms are those of the usual scripts (torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor,
Normalize), written in PIL and torch.
"""

from __future__ import annotations

__all__ = ["ArrayDataset", "PlainResNet20", "train_plainly"]

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


class ArrayDataset(Dataset):
    """Images [N, 32, 32, 3] uint8 and labels [N]; each image is padded, cropped, mirrored and normalised when read."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), border=4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = image.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255
        return (x - MEAN) / STD, int(self.labels[index])


class PlainBlock(nn.Module):
    """Two 3x3 convolutions and an identity; where the shape changes, every second pixel and zero channels."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.added = stride, planes - in_planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.added:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return F.relu(out + x)


class PlainResNet20(nn.Module):
    """ResNet-20 for CIFAR: 269,722 parameters."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        shapes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(PlainBlock(*shape) for shape in shapes))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        x = F.avg_pool2d(x, x.size()[3])
        return self.fc(x.view(x.size(0), -1))


def train_plainly(
    images: np.ndarray, labels: np.ndarray, *, threads: int, batch_size: int, step_done: Callable[[], None]
) -> None:
    """Train without end; `step_done` is called after every step and ends it by raising."""
    torch.set_num_threads(threads)
    loader = DataLoader(
        ArrayDataset(images, labels), batch_size=batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    net = PlainResNet20()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    net.train()
    while True:
        running_loss, correct = 0.0, 0
        for inputs, targets in loader:
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = F.cross_entropy(outputs, targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            correct += (outputs.argmax(1) == targets).sum().item()
            step_done()
