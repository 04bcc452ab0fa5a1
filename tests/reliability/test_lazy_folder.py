"""A folder of image files larger than it should be possible to hold."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

FIT = """
import resource, sys
import torch
torch.set_num_threads(1)
from sklearn.pipeline import make_pipeline
from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageNormalizer, ImageReader
from sklearn_cnn.datasets import load_image_folder

folder = load_image_folder(sys.argv[1])
pipe = make_pipeline(
    ImageReader(lazy=True),
    ImageAugmenter(rotation=10),
    ImageNormalizer(per="image"),
    CNNClassifier((4,), hidden_layer_sizes=(), max_epochs=1, batch_size=64, random_state=0),
)
pipe.fit(folder.filenames, folder.target).predict(folder.filenames)
print(len(folder.filenames), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def write_folder(folder, n_images):
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        file = folder / label / "0.png"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
        content = file.read_bytes()
        for i in range(1, n_images // 2):
            (folder / label / f"{i}.png").write_bytes(content)


@pytest.mark.slow
def test_the_peak_memory_of_a_lazy_folder_does_not_grow_with_the_number_of_images(tmp_path):
    peaks = []
    for n_images in (2_000, 20_000):
        write_folder(tmp_path / str(n_images), n_images)
        done = subprocess.run(
            [sys.executable, "-c", FIT, str(tmp_path / str(n_images))], capture_output=True, text=True, check=True
        )
        seen, peak = map(int, done.stdout.split())
        assert seen == n_images
        peaks.append(peak)
    decoded = 18_000 * 64 * 64 * 3 / 2**20  # MB that the further images would take
    assert peaks[1] - peaks[0] < decoded / 3, f"peaks of {peaks} MB, with {decoded:.0f} MB more of images"
