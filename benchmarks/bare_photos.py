"""A bare torch loop for small photographs, with each of its ideas as an option.

    python benchmarks/bare_photos.py FILE
    python benchmarks/bare_photos.py FILE "" "widths=(64, 256, 256), batch_size=1024, epochs=10"
    python benchmarks/bare_photos.py FILE "epochs=3" --without whitening dirac

FILE holds X (n, 32, 32, 3), uint8, and y, as the script photos.py describes; or it is a folder with the idx files of
MNIST or Fashion-MNIST. Each setting is written as keyword arguments of `Recipe`; the empty string is its defaults.
`--without` runs each setting as it is and then again without each of the ideas named, one at a time; `all` names all.

Network and training follow Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv:2404.00498), which
lists the earlier work that each idea is from. Three things differ. The widths are smaller and chosen for a few minutes
on two cores. The last maximum is taken over the whole map, of whatever size. `lookahead` is off unless asked for.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import report, setting
from data import read_photos
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Recipe:
    """What the loop does. The defaults are those of Jordan (2024), but for widths, epochs, batch size and lookahead."""

    epochs: int = 8
    batch_size: int = 256
    # network
    widths: tuple = (32, 96, 128)
    convs: int = 2  # convolutions a block
    pool_behind: int = 1  # convolution of a block that the pool follows
    pool: str = "max"  # or "average"
    pool_last_block: bool = True
    activation: str = "gelu"  # or "relu", "silu"
    whitening: str | None = "fixed"  # or "start", "start_of_usual_norm": see `whiten`
    whitening_size: int = 2  # side of the patches that "fixed" whitens
    whitening_stride: int = 1
    whitening_bias_epochs: int = 3  # the bias of "fixed" is trained so long
    dirac: bool = True  # the first filters of a convolution hand on its channels
    head: str = "max"  # over the whole map; or "average", "flat"
    hidden: int = 0  # units of a dense layer before the last
    dropout: float = 0.0
    scale: float = 1 / 9  # of the output
    norm_weight: bool = False  # whether batch normalisation has weights beside its biases
    norm_momentum: float = 0.4
    norm_eps: float = 1e-5
    # loss and optimiser
    label_smoothing: float = 0.2
    optimizer: str = "sgd"  # or "adamw"
    lr: float | None = None  # SGD: 11.5, for 1,024 images and divided by what Nesterov momentum multiplies; AdamW: 0.01
    weight_decay: float | None = None  # SGD: 0.0153, counted in the same way and apart from the rate; AdamW: 0.01
    momentum: float = 0.85
    bias_factor: float = 64.0  # rate of the biases of normalisation over that of all others
    schedule: str = "triangle"  # or "warmup_stable_decay", "linear"
    peak: float = 0.2  # share of the steps before the peak of the triangle; or of the cooldown
    lookahead: bool = False  # every five steps the weights go back to their moving average (Zhang et al. 2019)
    # images
    flip: str | None = "alternating"  # half of the images, and the other half in the next epoch; or "random"
    crop: int = 2  # pixels of reflected border, from which a place is drawn
    small_side: int | None = None  # side to which images are shrunk at first
    small_share: float = 0.5  # share of the steps with that side
    mix: str | None = None  # "mixup" (Zhang et al. 2018) or "cutmix" (Yun et al. 2019), with partners of the batch
    mix_alpha: float = 0.2
    # arithmetic
    bfloat16: bool | None = None  # None: where the processor multiplies bfloat16 itself, as CNNClassifier does


WITHOUT = {
    "whitening": {"whitening": None},
    "dirac": {"dirac": False},
    "second convolution": {"convs": 1},
    "gelu": {"activation": "relu"},
    "global pool": {"head": "flat"},
    "no hidden layer": {"head": "flat", "hidden": 128, "dropout": 0.25},
    "output scale": {"scale": 1.0},
    "label smoothing": {"label_smoothing": 0.0},
    "sgd": {"optimizer": "adamw", "bias_factor": 1.0, "scale": 1.0},
    "bias rate": {"bias_factor": 1.0},
    "fixed norm weights": {"norm_weight": True},
    "norm momentum": {"norm_momentum": 0.1},
    "triangle": {"schedule": "warmup_stable_decay"},
    "flips": {"flip": None},
    "alternating flips": {"flip": "random"},
    "crop": {"crop": 0},
}
"""What a recipe has in place of each idea."""

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
GLOBAL_POOLS = {"max": nn.AdaptiveMaxPool2d, "average": nn.AdaptiveAvgPool2d}


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def network(recipe, shape, n_classes):
    """The network for images of a shape (channels, height, width)."""
    channels, height, width = shape
    layers = []
    if recipe.whitening == "fixed":
        size, stride = recipe.whitening_size, recipe.whitening_stride
        layers += [nn.Conv2d(channels, 2 * channels * size**2, size, stride), ACTIVATIONS[recipe.activation]()]
        layers[0].weight.requires_grad = False
        nn.init.zeros_(layers[0].bias)
        channels, height, width = len(layers[0].weight), (height - size) // stride + 1, (width - size) // stride + 1
    for block, n_filters in enumerate(recipe.widths):
        pooled = recipe.pool_last_block or block < len(recipe.widths) - 1
        for place in range(recipe.convs):
            conv = nn.Conv2d(channels, n_filters, 3, padding=1, bias=False)
            if not recipe.dirac:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            elif n_filters >= channels:
                nn.init.dirac_(conv.weight.data[:channels])
            norm = nn.BatchNorm2d(n_filters, eps=recipe.norm_eps, momentum=recipe.norm_momentum)
            norm.weight.requires_grad = recipe.norm_weight
            pool = [POOLS[recipe.pool](2)] if place == recipe.pool_behind - 1 and pooled else []
            layers += [conv, *pool, norm, ACTIVATIONS[recipe.activation]()]
            channels = n_filters
        if pooled:
            height, width = height // 2, width // 2
    if recipe.head != "flat":
        layers.append(GLOBAL_POOLS[recipe.head](1))
        height = width = 1
    layers.append(nn.Flatten())
    n_features = channels * height * width
    if recipe.hidden:
        layers += [nn.Dropout(recipe.dropout), nn.Linear(n_features, recipe.hidden), nn.ReLU()]
        n_features = recipe.hidden
    layers += [nn.Dropout(recipe.dropout), nn.Linear(n_features, n_classes, bias=False), Scale(recipe.scale)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def whiten(conv, images, how):
    """Set the filters of the first convolution to the whitened principal components of patches, and their negatives.

    "fixed" has a filter for each component and its negative, and stays as it is. "start" sets the first half of an
    ordinary convolution to the largest components, the second to their negatives, from where they are trained;
    "start_of_usual_norm" scales these to the mean norm of the filters that they replace.
    """
    size = conv.kernel_size[0]
    patches = F.unfold(images, size).transpose(1, 2).flatten(0, 1)
    patches = patches[torch.randperm(len(patches))[:500_000]]
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 5e-4).sqrt()).T.flip(0)[: len(conv.weight) // 2]
    filters = torch.cat([filters, -filters])
    if how == "start_of_usual_norm":
        norms = conv.weight[: len(filters)].flatten(1).norm(dim=1).mean() / filters.norm(dim=1, keepdim=True)
        filters = filters * norms
    with torch.no_grad():
        conv.weight[: len(filters)] = filters.view(-1, *conv.weight.shape[1:])


def make_optimizer(net, recipe, batch_size):
    """SGD with Nesterov momentum, or AdamW; the biases of normalisation have a rate of their own."""
    biases = [module.bias for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    known = {id(bias) for bias in biases}
    others = [p for p in net.parameters() if p.requires_grad and id(p) not in known]
    if recipe.optimizer == "sgd":
        # With gradients that stay the same, Nesterov momentum multiplies a step by 1 + 1 / (1 - momentum).
        share = batch_size / (1024 * (1 + 1 / (1 - recipe.momentum)))
        lr = (11.5 if recipe.lr is None else recipe.lr) * share
        decay = (0.0153 if recipe.weight_decay is None else recipe.weight_decay) * share
        groups = [
            {"params": parameters, "lr": rate, "weight_decay": decay / rate}
            for parameters, rate in ((biases, lr * recipe.bias_factor), (others, lr))
        ]
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=True, fused=True)
    lr = 0.01 if recipe.lr is None else recipe.lr
    decay = 0.01 if recipe.weight_decay is None else recipe.weight_decay
    groups = [
        {"params": biases, "lr": lr * recipe.bias_factor, "weight_decay": 0.0},
        {"params": [p for p in others if p.ndim == 1], "lr": lr, "weight_decay": 0.0},
        {"params": [p for p in others if p.ndim > 1], "lr": lr, "weight_decay": decay},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def share_of_rate(recipe, step, n_steps):
    """The learning rate of a step, as a share of the largest."""
    done = step / n_steps
    if recipe.schedule == "linear":
        return 1 - done
    if recipe.schedule == "warmup_stable_decay":  # Hägele et al. 2024, arXiv:2405.18392
        return min(1.0, 0.04 + step / min(200, 0.1 * n_steps), (1 - done) / recipe.peak)
    first, last = (0.2, 0.07) if recipe.optimizer == "sgd" else (0.04, 0.0)
    return float(np.interp(done, [0, recipe.peak, 1], [first, 1, last]))


def drawn(padded, border, flips, generator):
    """Crops of padded images (n, c, h, w), each at a place of its own; those that `flips` names are mirrored."""
    height, width = (side - 2 * border for side in padded.shape[2:])
    images = torch.empty(len(padded), padded.shape[1], height, width, dtype=padded.dtype)
    places = torch.randint(0, 2 * border + 1, (len(padded), 2), generator=generator)
    for top in range(2 * border + 1):
        for left in range(2 * border + 1):
            rows = ((places[:, 0] == top) & (places[:, 1] == left)).nonzero()[:, 0]
            images[rows] = padded[rows, :, top : top + height, left : left + width]
    rows = flips.nonzero()[:, 0]
    images[rows] = images[rows].flip(3)
    return images


def with_border(images, border, mode="reflect"):
    """uint8 images (n, c, h, w) with so many pixels more on each side."""
    return F.pad(images.float(), (border,) * 4, mode).to(torch.uint8) if border else images


def mixed_loss(net, images, targets, recipe, generator):
    """The loss on images that are mixed with others of the batch, weighted between both targets."""
    share = float(torch._sample_dirichlet(torch.full((2,), recipe.mix_alpha), generator)[0])
    partners = torch.randperm(len(images), generator=generator)
    if recipe.mix == "mixup":
        images = share * images + (1 - share) * images[partners]
    else:
        height, width = images.shape[2:]
        h, w = int(height * (1 - share) ** 0.5), int(width * (1 - share) ** 0.5)
        top = int(torch.randint(0, height - h + 1, (), generator=generator))
        left = int(torch.randint(0, width - w + 1, (), generator=generator))
        window = (slice(None), slice(None), slice(top, top + h), slice(left, left + w))
        images, others = images.clone(), images[partners]
        images[window] = others[window]
        share = 1 - h * w / (height * width)
    logits = net(images).float()
    losses = [F.cross_entropy(logits, t, label_smoothing=recipe.label_smoothing) for t in (targets, targets[partners])]
    return share * losses[0] + (1 - share) * losses[1]


def native_bfloat16(bfloat16):
    """Whether to compute in bfloat16: as asked, or where the processor multiplies it itself."""
    from sklearn_cnn.training._device import has_native_bfloat16

    return has_native_bfloat16(torch.device("cpu")) if bfloat16 is None else bfloat16


class Trained:
    """A trained network: uint8 images (n, h, w, c) -> logits (n, n_classes)."""

    def __init__(self, net, prepared, bfloat16):
        self.net, self.prepared, self.bfloat16 = net.eval(), prepared, bfloat16

    def __call__(self, X, batch_size=500):
        images = torch.from_numpy(np.ascontiguousarray(X)).permute(0, 3, 1, 2)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return torch.cat([self.net(self.prepared(part)).float() for part in images.split(batch_size)]).numpy()


def fit(X, y, recipe, seed=0):
    """Train on uint8 images (n, h, w, c) with labels 0, 1, ...; return what predicts."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    bfloat16 = native_bfloat16(recipe.bfloat16)
    images, targets = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y.astype(np.int64))
    pixels = images.float()
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    del pixels

    def prepared(batch):
        return ((batch.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    net = network(recipe, images.shape[1:], int(targets.max()) + 1).train()
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    if recipe.whitening is not None:
        whiten(first, prepared(images[:5000]), recipe.whitening)
    batch_size = min(recipe.batch_size, len(images))
    optimizer = make_optimizer(net, recipe, batch_size)
    peaks = [group["lr"] for group in optimizer.param_groups]
    padded = with_border(images, recipe.crop)
    first_flips = torch.rand(len(images), generator=generator) < 0.5
    steps_an_epoch = len(images) // batch_size
    n_steps, step = recipe.epochs * steps_an_epoch, 0
    average = [tensor.clone() for tensor in net.state_dict().values()]
    for epoch in range(recipe.epochs):
        flips = {
            "alternating": lambda epoch=epoch: first_flips ^ bool(epoch % 2),
            "random": lambda: torch.rand(len(images), generator=generator) < 0.5,
            None: lambda: torch.zeros(len(images), dtype=torch.bool),
        }[recipe.flip]()
        shown = drawn(padded, recipe.crop, flips, generator)
        if recipe.whitening == "fixed" and epoch == recipe.whitening_bias_epochs:
            first.bias.requires_grad, first.bias.grad = False, None
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(batch_size)[:steps_an_epoch]:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share_of_rate(recipe, step, n_steps)
            batch = prepared(shown[rows])
            if recipe.small_side and step < recipe.small_share * n_steps:
                batch = F.interpolate(batch, size=(recipe.small_side,) * 2, mode="bilinear", antialias=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                if recipe.mix:
                    loss = mixed_loss(net, batch, targets[rows], recipe, generator)
                else:
                    logits = net(batch).float()
                    loss = F.cross_entropy(logits, targets[rows], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if recipe.lookahead and step % 5 == 0:
                look_ahead(net, average, 0.95**5 * (step / n_steps) ** 3)
    if recipe.lookahead:
        look_ahead(net, average, 1.0)
    return Trained(net, prepared, bfloat16)


@torch.no_grad()
def look_ahead(net, average, decay):
    """Move the average towards the weights and statistics, and these to the average (schedule of Jordan 2024)."""
    for mean, tensor in zip(average, net.state_dict().values(), strict=True):
        if tensor.is_floating_point():
            tensor.copy_(mean.lerp_(tensor, 1 - decay))


def accuracies(scores, X, y):
    """Accuracy of a function images -> scores (n, n_classes): on images, with mirrored ones, with shifted ones too.

    Scores are added up. Those of images moved by a pixel up and left, and down and right, count half (Jordan 2024).
    """

    def of(total):
        return float((total.argmax(axis=1) == y).mean())

    def both(images):
        return scores(images) + scores(images[:, :, ::-1])

    plain = scores(X)
    mirrored = plain + scores(X[:, :, ::-1])
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = mirrored + (both(padded[:, :-2, :-2]) + both(padded[:, 2:, 2:])) / 2
    return {"accuracy": of(plain), "mirrored": of(mirrored), "and shifted": of(shifted)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path, help="npz file with X and y, or folder with four idx files")
    arguments.add_argument("settings", nargs="*", default=[""], help="keyword arguments of Recipe")
    arguments.add_argument("--without", nargs="+", default=[], choices=[*WITHOUT, "all"], help="ideas to leave out")
    arguments.add_argument("--train", type=int, default=None, help="train on the first N photographs")
    arguments.add_argument("--test", type=int, default=5000, help="score on the last N photographs")
    arguments.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ...")
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    arguments.add_argument("--json", type=Path, default=None, help="file to write the figures to")
    arguments = arguments.parse_intermixed_args()
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_photos(arguments.data, arguments.train, arguments.test)
    recipes = {}
    for text in arguments.settings:
        recipes[text or "defaults"] = recipe = Recipe(**eval(f"dict({text})"))
        for idea in WITHOUT if "all" in arguments.without else arguments.without:
            recipes[f"{text or 'defaults'}, without {idea}"] = replace(recipe, **WITHOUT[idea])
    found = {name: [] for name in recipes}
    for seed in range(arguments.seeds):
        for name, recipe in recipes.items():
            start = time.perf_counter()
            trained = fit(X, y, recipe, seed)
            found[name].append({"seconds": time.perf_counter() - start, **accuracies(trained, X_test, y_test)})
            figures = ", ".join(f"{what} {value:.4f}" for what, value in found[name][-1].items())
            print(f"{figures}; {name}", flush=True)
    rows = [
        {"recipe": name, **{what: float(np.median([run[what] for run in runs])) for what in runs[0]}}
        for name, runs in found.items()
    ]
    report(f"Medians of {arguments.seeds} seeds, {len(X):,} photographs", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
