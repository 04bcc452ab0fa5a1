"""
Image files in folders
======================

From a folder with one sub-folder a class to a cross-validated network: the files are found, read a batch at a
time, brought to one size and augmented, all within a pipeline.
"""

# %%
# A folder of images
# ------------------
#
# To have one at hand, two photographs that come with scikit-learn are cut into tiles that do not overlap. Their
# sides are drawn, from 32 to 53 pixels, and every other tile becomes a PNG file rather than a JPEG.

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageReader
from sklearn_cnn.datasets import load_image_folder

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
rng = np.random.default_rng(0)
step = 53  # pixels from one tile to the next

for name in ("china", "flower"):
    (folder / name).mkdir()
    photograph = load_sample_image(f"{name}.jpg")
    rows, columns = (side // step for side in photograph.shape[:2])
    for i, (row, column) in enumerate(np.ndindex(rows, columns)):
        height, width = rng.integers(32, step + 1, size=2)
        tile = photograph[row * step :, column * step :][:height, :width]
        Image.fromarray(tile).save(folder / name / f"{i:02}.{'png' if i % 2 else 'jpg'}")

print(*sorted(str(path.relative_to(folder)) for path in folder.glob("*/0[0-2].*")), sep="\n")

# %%
# Find the files
# --------------
#
# :func:`~sklearn_cnn.datasets.load_image_folder` gives paths and labels; no image is in memory yet.

data = load_image_folder(folder, shuffle=True, random_state=0)
X, y = data.filenames, np.array(data.target_names)[data.target]
print(data.DESCR.replace(str(folder), "the folder"))

# %%
# Read, augment and train
# -----------------------
#
# The paths are the X of the pipeline, so what is split into folds are paths. :class:`~sklearn_cnn.ImageReader`
# brings the tiles to 32×32 pixels. With ``lazy=True`` it decodes a batch at a time, again in every epoch, and
# keeps none: so does one train on folders larger than memory. :class:`~sklearn_cnn.ImageAugmenter` changes the
# training images, and only those.

pipe = make_pipeline(
    ImageReader(size=32, resize="crop", lazy=True),
    ImageAugmenter(horizontal_flip=0.5, brightness=0.2),
    CNNClassifier(filters=(16, 32), max_epochs=10, random_state=0),
)
folds = StratifiedKFold(4, shuffle=True, random_state=0)
scores = cross_val_score(pipe, X, y, cv=folds)
print(f"accuracy of the four folds: {', '.join(f'{score:.3f}' for score in scores)}")

# %%
# Tiles of one photograph resemble each other, so this is an easy task, and the score says nothing about other
# photographs.
#
# Look at the files
# -----------------
#
# Each file with the label that the network of its fold predicted for it, mistakes first and marked. The files are
# shown as they are, each in its own size.

predicted = cross_val_predict(pipe, X, y, cv=folds)
wrong = predicted != y
shown = np.argsort(~wrong, kind="stable")[:24]

figure, axes = plt.subplots(3, 8, figsize=(10, 5.6), layout="constrained")
figure.get_layout_engine().set(hspace=0.06)
figure.suptitle(f"Predicted label: {wrong.sum()} wrong of {len(y)} (✗)")
for ax, i in zip(axes.flat, shown, strict=True):
    pixels = plt.imread(X[i])
    height, width = pixels.shape[:2]
    ax.imshow(pixels, extent=(-width / 2, width / 2, -height / 2, height / 2))
    ax.set(xticks=[], yticks=[], xlim=(-step / 2, step / 2), ylim=(-step / 2, step / 2))
    ax.set_title(
        f"✗ {predicted[i]}" if wrong[i] else predicted[i],
        color="#B34700" if wrong[i] else "black",
        fontweight="bold" if wrong[i] else "normal",
        fontsize=11,
    )
    ax.set_xlabel(f"{height}×{width}, {Path(X[i]).suffix[1:]}", fontsize=10)
    ax.spines[:].set_visible(False)
plt.show()

# %%
# A file that is broken
# ---------------------
#
# Downloads break off. ``ImageReader`` raises with the path of the file. It cannot leave the image out itself, as a
# transformer gives as many images as it gets; ``load_image_folder`` can, before labels and folds are made.

(folder / "china" / "broken.jpg").write_bytes(b"no image at all")

try:
    pipe[0].set_params(lazy=False).fit_transform([str(folder / "china" / "broken.jpg")])
except ValueError as error:
    print(str(error).replace(str(folder), "the folder"))

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data = load_image_folder(folder, on_error="skip")
print(str(caught[0].message).replace(str(folder), "the folder"))
print(f"{len(data.filenames)} images are left")

temporary.cleanup()
