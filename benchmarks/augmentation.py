"""What augmentation gains, and what it costs.

    python benchmarks/augmentation.py gain FOLDER "rotation=10, shift=0.1" "zoom=0.1"
    python benchmarks/augmentation.py speed

`gain` fits CNNClassifier(max_epochs=30) on 1,000 training images, drawn anew for each seed, without an augmenter and
with each of the given ones, and counts errors on all 10,000 test images. FOLDER has the idx files of MNIST or
Fashion-MNIST, plain or gzipped. `speed` compares batched augmentation with kornia and with torchvision's v2
transforms, one image at a time, alternating; both must be installed beside this package.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import described, setting
from data import read_idx_folder
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier, ImageAugmenter
from sklearn_cnn.images._reading import read_images
from sklearn_cnn.preprocessing._augmenter import augmented


def gain(folder, settings, seeds, train_size, max_epochs):
    X, y, X_test, y_test = read_idx_folder(folder)
    errors = {text: [] for text in ["", *settings]}
    for seed in range(seeds):
        part, _, labels, _ = train_test_split(X, y, train_size=train_size, stratify=y, random_state=seed)
        for text, found in errors.items():
            augmenter = ImageAugmenter(**eval(f"dict({text})")) if text else None
            clf = CNNClassifier(max_epochs=max_epochs, augmenter=augmenter, random_state=seed)
            start = time.perf_counter()
            clf.fit(part, labels)
            seconds = time.perf_counter() - start
            found.append(int((clf.predict(X_test) != y_test).sum()))
            print(f"seed {seed}: {found[-1]} errors, {seconds:.1f} s; {text or 'no augmenter'}", flush=True)
    without = np.mean(errors[""])
    print(f"\n{'errors, mean':>12} {'change':>8}  augmenter")
    for text, found in errors.items():
        print(f"{np.mean(found):>12.1f} {np.mean(found) / without - 1:>8.1%}  {text or 'none'}")


def contestants(images):
    """Functions that rotate by 15 degrees, shift by a tenth, scale by a tenth and flip half of a batch."""
    import kornia.augmentation as K
    from torchvision.transforms import v2

    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    augmenter = ImageAugmenter(rotation=15, shift=0.1, zoom=0.1, horizontal_flip=0.5, random_state=0)
    source = augmented(augmenter, read_images(images))
    generator = torch.Generator().manual_seed(0)
    rows = np.arange(len(images))
    of_kornia = torch.nn.Sequential(K.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), p=1.0), K.RandomHorizontalFlip(p=0.5))
    of_torchvision = v2.Compose(
        [
            v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(0.5),
        ]
    )
    return {
        "sklearn_cnn": lambda: source.batch(rows, [generator]),
        "kornia": lambda: of_kornia(batch.float()),
        "torchvision v2, one image at a time": lambda: torch.stack([of_torchvision(image) for image in batch]),
    }


def speed(repeats):
    # The C library hands freed memory back to the system, and asks for it anew a moment later, until a large block
    # was freed. In a training the maps of the network are that; without one the system's work would be measured.
    del_me = torch.empty(32 * 2**20 - 2**13, dtype=torch.uint8)
    del del_me
    rng = np.random.default_rng(0)
    for shape in [(128, 28, 28, 1), (128, 32, 32, 3)]:
        rivals = contestants(rng.integers(0, 256, shape, dtype=np.uint8))
        seconds = {name: [] for name in rivals}
        for function in rivals.values():
            function()
        for _ in range(repeats):
            for name, function in rivals.items():
                loops = 1 if "one image" in name else 20
                start = time.perf_counter()
                for _ in range(loops):
                    function()
                seconds[name].append((time.perf_counter() - start) / loops)
        ours = np.median(seconds["sklearn_cnn"])
        print(f"\n{'×'.join(map(str, shape))}, uint8")
        for name, found in seconds.items():
            median = np.median(found)
            print(f"{shape[0] / median:>10,.0f} images/s, {median / ours:>5.1f} times ours; {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    commands = parser.add_subparsers(dest="command", required=True)
    of_gain = commands.add_parser("gain")
    of_gain.add_argument("folder", type=Path)
    of_gain.add_argument("settings", nargs="+")
    of_gain.add_argument("--seeds", type=int, default=5)
    of_gain.add_argument("--train-size", type=int, default=1000)
    of_gain.add_argument("--max-epochs", type=int, default=30)
    commands.add_parser("speed").add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    print(described(setting(arguments.threads or torch.get_num_threads())))
    if arguments.command == "gain":
        gain(arguments.folder, arguments.settings, arguments.seeds, arguments.train_size, arguments.max_epochs)
    else:
        speed(arguments.repeats)


if __name__ == "__main__":
    main()
