"""Networks and loops in plain torch, as someone who knows it would write them, for the other scripts of this folder."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def keras_example(n_outputs=10):
    """The network of Keras' MNIST example, with one dropout rate."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * 12 * 12, 128),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(128, n_outputs),
    )


KERAS_EXAMPLE = {
    "filters": (32, 64),
    "padding": "valid",
    "pooling": (None, "max"),
    "normalization": None,
    "standardize": False,
    "dropout": 0.25,
    "hidden_layer_sizes": (128,),
    "convs_per_block": 1,
    "global_pooling": None,
    "augmenter": None,
}
"""The same for CNNClassifier."""

PLAIN = {
    "convs_per_block": 1,
    "global_pooling": None,
    "hidden_layer_sizes": (128,),
    "dropout": 0.25,
    "augmenter": None,
    "standardize": False,
}
"""What CNNClassifier takes for small images, but without standardisation, at any size: the network of `conv_blocks`."""


def conv_blocks(filters, side, hidden=128, n_outputs=10, channels=1, convs=1):
    """The blocks of CNNClassifier, then the dense layers.

    A block is convolution, pool, batch normalisation, ReLU; further convolutions have no pool.
    """
    layers = []
    for width in filters:
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(convs - 1):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels, side = width, side // 2
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(channels * side**2, hidden),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(hidden, n_outputs),
    )


def plain_loop(network, X, y, *, epochs, batch_size, lr, bfloat16=False, channels_last=None, label_smoothing=0.0):
    """Train in float32, or in bfloat16 by autocast and, unless told otherwise, channels last; one cycle of AdamW."""
    channels_last = bfloat16 if channels_last is None else channels_last
    X, y = torch.from_numpy(X), torch.from_numpy(np.asarray(y, dtype=np.int64))
    X = X[:, None] if X.ndim == 3 else X.permute(0, 3, 1, 2)
    pixels = X.float()
    mean, std = (statistic((0, 2, 3), keepdim=True) for statistic in (pixels.mean, pixels.std))
    del pixels
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, fused=True)
    n_batches = -(-len(X) // batch_size)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * n_batches)
    losses = []
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for rows in order.split(batch_size):
            images = (X[rows].float() - mean) / std
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = network(images)
            loss = F.cross_entropy(logits.float(), y[rows], label_smoothing=label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            losses.append(loss.item())
    return network


def plain_prediction(network, X, batch_size=1000):
    """Class indices of images."""
    network.eval()
    with torch.inference_mode():
        batches = torch.from_numpy(X)[:, None].split(batch_size)
        return torch.cat([network(batch.float()).argmax(1) for batch in batches]).numpy()
