"""Features that are kept in a folder: what goes through the network again, and what happens to a damaged folder."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    ImageAugmenter,
    ImageNormalizer,
    ImageReader,
    load_model,
    save_model,
)
from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.estimators import _feature_extractor
from sklearn_cnn.estimators._kept import FILE_NAME

X, y = load_digits(return_X_y=True)
X, y = X.reshape(-1, 8, 8)[:120].astype(np.uint8), y[:120]


@pytest.fixture(scope="module")
def source():
    return CNNClassifier(filters=(4,), max_epochs=1, random_state=0).fit(X, y)


@pytest.fixture
def through(monkeypatch):
    """The number of images that went through a network, a list with an entry a batch."""
    counts = []
    maps = ImageNetwork.maps

    def counted(self, images, name):
        counts.append(len(images))
        return maps(self, images, name)

    monkeypatch.setattr(ImageNetwork, "maps", counted)
    return counts


def extractor(source, memory, **settings):
    return CNNFeatureExtractor(FrozenEstimator(source), memory=memory, **settings)


def database(folder):
    return sqlite3.connect(folder / FILE_NAME, isolation_level=None)


def files_of(folder, images):
    """Files of one size in bytes, so that only the time tells of a change."""
    folder.mkdir()
    paths = [str(folder / f"{i}.bmp") for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image * 15).save(path)
    return paths


def test_an_image_goes_through_the_network_once(source, tmp_path, through):
    plain = extractor(source, None).fit_transform(X)
    through.clear()
    first = extractor(source, tmp_path).fit_transform(X[:80])
    assert sum(through) == len(np.unique(X[:80], axis=0))
    through.clear()
    both = extractor(source, tmp_path).fit_transform(X)
    assert sum(through) == len(np.unique(X, axis=0)) - len(np.unique(X[:80], axis=0))
    assert np.array_equal(both, plain)
    assert np.array_equal(first, plain[:80])
    through.clear()
    assert np.array_equal(extractor(source, tmp_path).fit_transform(X[::-1]), plain[::-1])
    assert sum(through) == 0


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_runs_each_image_once_and_gives_the_same_scores(source, tmp_path, n_jobs):
    def search(memory):
        pipe = make_pipeline(extractor(source, memory), LogisticRegression(max_iter=200))
        return GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3, n_jobs=n_jobs).fit(X, y)

    scores = search(tmp_path).cv_results_["mean_test_score"]
    assert np.array_equal(scores, search(None).cv_results_["mean_test_score"])
    with database(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone()[0] == len(np.unique(X, axis=0))


def test_a_second_search_runs_no_image(source, tmp_path, through):
    pipe = make_pipeline(extractor(source, tmp_path), LogisticRegression(max_iter=200))
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3)
    search.fit(X, y)
    assert sum(through) == len(np.unique(X, axis=0))
    through.clear()
    search.fit(X, y)
    assert sum(through) == 0


def test_what_the_features_follow_from_tells_them_apart(source, tmp_path, through):
    extractor(source, tmp_path).fit_transform(X)
    other = CNNClassifier(filters=(4,), max_epochs=1, random_state=1).fit(X, y)
    others = [extractor(other, tmp_path)]
    others += [extractor(source, tmp_path, layer=layer) for layer in ("block1_relu", "block1_conv")]
    for changed in others:
        through.clear()
        values = changed.fit_transform(X[:20])
        assert sum(through) == len(np.unique(X[:20], axis=0))
        assert np.array_equal(values, changed.set_params(memory=None).fit_transform(X[:20]))
    for images in (X.astype(np.float32), X + 1):
        through.clear()
        extractor(source, tmp_path).fit_transform(images[:20])
        assert sum(through) > 0


def test_files_are_not_opened_again_unless_they_change(source, tmp_path, through, monkeypatch):
    paths = files_of(tmp_path / "images", X[:30])
    pipe = make_pipeline(ImageReader(size=8, mode="L", lazy=True), extractor(source, tmp_path / "kept"))
    first = pipe.fit_transform(paths)
    through.clear()
    opened = []
    load = Image.open
    monkeypatch.setattr(Image, "open", lambda file, *rest: (opened.append(str(file)), load(file, *rest))[1])
    pipe.fit(paths)
    opened.clear()  # fit looks at a few for the value of white
    assert np.array_equal(pipe.transform(paths), first)
    assert not opened and sum(through) == 0
    Image.fromarray(np.full((8, 8), 150, np.uint8)).save(paths[3])
    changed = pipe.transform(paths)
    assert opened == [paths[3]] and sum(through) == 2  # one image goes through the network twice
    assert not np.array_equal(changed[3], first[3])
    assert np.array_equal(np.delete(changed, 3, 0), np.delete(first, 3, 0))


def test_fit_reads_only_as_many_files_as_tell_white(source, tmp_path, monkeypatch):
    large = [np.kron(image, np.ones((64, 64), np.uint8)) for image in X[:8]]
    paths = files_of(tmp_path / "images", large)
    network = CNNClassifier(filters=(2,), max_epochs=1, random_state=0).fit(np.stack(large), y[:8])
    opened = []
    load = Image.open
    monkeypatch.setattr(Image, "open", lambda file, *rest: (opened.append(str(file)), load(file, *rest))[1])
    images = ImageReader(size=512, mode="L", lazy=True).fit_transform(paths)
    fitted = extractor(network, None).fit(images)
    assert 0 < len(opened) < len(paths)
    assert fitted.pixel_range_ == network.pixel_range_


def test_steps_before_the_network_tell_images_apart(tmp_path, through):
    paths = files_of(tmp_path / "images", X[:20])
    reader = ImageReader(size=8, mode="L", lazy=True)
    network = CNNClassifier(filters=(2,), max_epochs=1, random_state=0).fit(ImageNormalizer().fit_transform(X), y)
    for part in (paths[:10], paths[10:]):  # each has a mean of its own
        through.clear()
        pipe = make_pipeline(reader, ImageNormalizer(), extractor(network, tmp_path / "kept")).fit(part)
        pipe.transform(paths)
        assert sum(through) == 20


def test_of_images_that_an_augmenter_changes_nothing_is_kept(source, tmp_path):
    pipe = make_pipeline(ImageAugmenter(shift=0.2, random_state=0), extractor(source, tmp_path))
    pipe.fit_transform(X[:20])
    assert not (tmp_path / FILE_NAME).exists()


def test_damaged_rows_are_computed_again_with_one_warning(source, tmp_path, through):
    values = extractor(source, tmp_path).fit_transform(X[:20])
    with database(tmp_path) as connection:
        connection.execute("UPDATE embeddings SET features = zeroblob(length(features)) WHERE rowid % 2")
        connection.execute("UPDATE embeddings SET features = x'00' WHERE rowid = 2")
    through.clear()
    with pytest.warns(UserWarning, match="damaged; they are computed again") as caught:
        again = extractor(source, tmp_path).fit_transform(X[:20])
    assert len(caught) == 1
    assert np.array_equal(again, values)
    assert sum(through) == 11
    through.clear()
    assert np.array_equal(extractor(source, tmp_path).fit_transform(X[:20]), values)
    assert sum(through) == 0


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of 16 images."""
    made = _feature_extractor.embedding_of
    monkeypatch.setattr(_feature_extractor, "embedding_of", lambda *args: (made(*args)[0], 16))


def test_of_two_processes_at_once_neither_does_what_the_other_has_done(
    source, tmp_path, through, small_batches, monkeypatch
):
    images = np.random.default_rng(0).integers(0, 17, (160, 8, 8), dtype=np.uint8)
    maps = ImageNetwork.maps

    def meanwhile(self, batch, name):
        monkeypatch.setattr(ImageNetwork, "maps", maps)
        extractor(source, tmp_path).fit_transform(images[:96])  # as another process would
        return maps(self, batch, name)

    monkeypatch.setattr(ImageNetwork, "maps", meanwhile)
    values = extractor(source, tmp_path).fit_transform(images)
    assert sum(through) == 160 + 16  # the batch that both were at
    assert np.array_equal(values, extractor(source, None).fit_transform(images))


def test_a_file_that_changes_while_it_is_read_is_not_kept(source, tmp_path, through, monkeypatch):
    paths = files_of(tmp_path / "images", X[:10])
    maps = ImageNetwork.maps

    def meanwhile(self, batch, name):
        monkeypatch.setattr(ImageNetwork, "maps", maps)
        Image.fromarray(np.full((8, 8), 150, np.uint8)).save(paths[4])
        return maps(self, batch, name)

    pipe = make_pipeline(ImageReader(size=8, mode="L", lazy=True), extractor(source, tmp_path / "kept"))
    monkeypatch.setattr(ImageNetwork, "maps", meanwhile)
    pipe.fit_transform(paths)
    with database(tmp_path / "kept") as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 9


def test_warnings_name_the_line_of_the_user(source, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    fitted = extractor(source, tmp_path).fit(X)
    with pytest.warns(UserWarning, match="memory=") as caught:
        fitted.transform(X)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("value", ["NULL", "7", "'text'", "CAST(x'ff' AS TEXT)"])
def test_rows_of_another_type_are_damaged_rows(source, tmp_path, value):
    values = extractor(source, tmp_path).fit_transform(X[:20])
    with database(tmp_path) as connection:
        connection.execute(f"UPDATE embeddings SET features = {value}")
    with pytest.warns(UserWarning, match="damaged; they are computed again"):
        assert np.array_equal(extractor(source, tmp_path).fit_transform(X[:20]), values)


def test_a_saved_extractor_comes_back_without_its_folder(source, tmp_path):
    fitted = extractor(source, tmp_path / "kept").fit(X)
    save_model(fitted, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.memory is None
    assert np.array_equal(loaded.transform(X), fitted.transform(X))


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_damaged_or_empty_database_changes_no_feature(source, tmp_path, content):
    values = extractor(source, None).fit_transform(X[:20])
    (tmp_path / FILE_NAME).write_bytes(content)
    if not content:
        assert np.array_equal(extractor(source, tmp_path).fit_transform(X[:20]), values)
        return
    with pytest.warns(UserWarning, match="computed and not kept; delete .* to begin anew") as caught:
        assert np.array_equal(extractor(source, tmp_path).fit_transform(X[:20]), values)
    assert len(caught) == 1
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_database_of_another_version_is_left_alone(source, tmp_path):
    extractor(source, tmp_path).fit_transform(X[:20])
    with database(tmp_path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.warns(UserWarning, match="of version 99 and not 1.*delete .* to begin anew"):
        extractor(source, tmp_path).fit_transform(X[:30])
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_database_that_cannot_be_written_is_read(source, tmp_path, through, monkeypatch):
    values = extractor(source, tmp_path).fit_transform(X[:20])
    connect = sqlite3.connect

    def without_space(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", without_space)
    through.clear()
    with pytest.warns(UserWarning, match="full; what is not there is computed and not kept") as caught:
        more = extractor(source, tmp_path).fit_transform(X)
    assert len(caught) == 1
    assert np.array_equal(more[:20], values)
    assert sum(through) == len(np.unique(X, axis=0)) - len(np.unique(X[:20], axis=0))


def test_a_folder_that_cannot_be_made_gives_a_warning_and_a_file_an_error(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"memory=.*is a file; it takes a folder"):
        extractor(source, tmp_path / "file").fit_transform(X[:20])

    def refuse(*args, **kwargs):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.warns(UserWarning, match="read-only file system; what is not there is computed and not kept"):
        extractor(source, tmp_path / "new").fit_transform(X[:20])


def test_a_batch_of_pixels_that_are_too_large_is_not_kept(source, tmp_path, small_batches):
    images = np.unique(X, axis=0)[:48].astype(np.float64)
    fitted = extractor(source, tmp_path).fit(images)
    images[20, 0, 0] = 1e39
    with pytest.raises(ValueError, match="1e\\+39"):
        fitted.transform(images)
    with database(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 16


def test_a_batch_is_kept_as_a_whole_or_not_at_all(source, tmp_path):
    extractor(source, tmp_path).fit_transform(X[:5])
    with database(tmp_path) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON embeddings WHEN (SELECT count(*) FROM embeddings) >= 8 "
            "BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
    with pytest.warns(UserWarning, match="no more; what is not there is computed and not kept"):
        extractor(source, tmp_path).fit_transform(X)
    with database(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 5


def test_a_database_is_begun_as_a_whole_or_not_at_all(source, tmp_path, monkeypatch):
    class Failing(sqlite3.Connection):
        def execute(self, command, *rest):
            if command.startswith("PRAGMA user_version ="):
                raise sqlite3.OperationalError("killed")
            return super().execute(command, *rest)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=Failing))
    with pytest.warns(UserWarning, match="killed"):
        extractor(source, tmp_path).fit_transform(X[:20])
    monkeypatch.undo()
    values = extractor(source, tmp_path).fit_transform(X[:20])
    assert np.array_equal(values, extractor(source, None).fit_transform(X[:20]))


def test_a_network_of_ones_own_is_refused(tmp_path):
    network = CNNClassifier(architecture=own_network, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="network of your own"):
        extractor(network, tmp_path, layer=network.plan_.layers[-1].name).fit_transform(X[:20])


def own_network(image_shape, n_outputs):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))


KILLED = """
    import sys
    import joblib
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.frozen import FrozenEstimator
    from sklearn_cnn import CNNFeatureExtractor
    import sklearn_cnn.estimators._feature_extractor as module
    embedding_of = module.embedding_of
    def small_batches(*args):
        maps, _ = embedding_of(*args)
        return maps, 16
    module.embedding_of = small_batches
    source, folder = sys.argv[1:]
    X = np.random.default_rng(0).integers(0, 17, (4000, 8, 8), dtype=np.uint8)
    print("begun", flush=True)
    CNNFeatureExtractor(FrozenEstimator(joblib.load(source)), memory=folder).fit_transform(X)
"""


def killed_while_embedding(source, folder, n_kills):
    joblib.dump(source, folder / "source.joblib")
    kept, draws = folder / "kept", np.random.default_rng(0)
    for _ in range(n_kills):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder / "source.joblib"), str(kept)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"begun\n"
        begun, wait = time.monotonic(), draws.uniform(0, 0.5)
        while not (kept / FILE_NAME).exists() and time.monotonic() < begun + 60:
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    images = np.random.default_rng(0).integers(0, 17, (4000, 8, 8), dtype=np.uint8)
    n_kept = 0
    if (kept / FILE_NAME).exists():
        with database(kept) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                n_kept = connection.execute("SELECT count(*) FROM embeddings").fetchone()[0]
    return images, kept, n_kept


@pytest.mark.parametrize("n_kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_kill_loses_a_batch_at_most(source, tmp_path, through, n_kills):
    images, kept, n_kept = killed_while_embedding(source, tmp_path, n_kills)
    assert n_kept % 16 == 0 and n_kept > 0
    plain = extractor(source, None).fit_transform(images)
    through.clear()
    assert np.array_equal(extractor(source, kept).fit_transform(images), plain)
    assert sum(through) == len(images) - n_kept
