"""What a user sees of running fits: on a terminal, in a file, from threads and from worker processes."""

import io
import os
import re
import subprocess
import sys
import threading

import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from tqdm import tqdm

from sklearn_cnn import CNNClassifier, ImageNormalizer
from sklearn_cnn.estimators import _read
from sklearn_cnn.exceptions import NonFiniteLossError
from sklearn_cnn.training import _progress
from sklearn_cnn.training._checkpoint import Checkpoint

X, y = load_digits().images[:120], load_digits().target[:120]
LINE = r"epoch (\d+)/3, \d+\.\d s, loss=\d\.\d{4}"


def small(**settings):
    return CNNClassifier(**{"filters": (4,), "max_epochs": 3, "random_state": 0, "verbose": 1, **settings})


class Stream(io.StringIO):
    """Keeps single writes; a terminal on demand."""

    def __init__(self, terminal=False):
        super().__init__()
        self.terminal = terminal
        self.writes = []

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.writes.append(text)
        return super().write(text)


def stand_in(monkeypatch, stream):
    """Put a stream in the place of the standard error; not in a fixture, since pytest puts its own back for a test."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def screen(text):
    """The lines a terminal shows after all that was written to it."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\r":
            column = 0
        elif piece == "\n":  # a terminal also returns
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[A":
            row -= 1
        else:
            line = lines[row].ljust(column)
            lines[row], column = line[:column] + piece + line[column + len(piece) :], column + len(piece)
    return [line.rstrip() for line in lines]


def finished(lines, n_epochs=3):
    """Epochs that lines tell of, each of which must be whole."""
    return [int(re.fullmatch(LINE.replace("/3", f"/{n_epochs}"), line).group(1)) for line in lines]


def test_on_a_terminal_a_bar_runs_and_one_line_stays(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    small().fit(X, y)
    assert "batch/s" in terminal.getvalue()
    *lines, rest = screen(terminal.getvalue())
    assert finished(lines) == [3] and rest == ""


def test_a_bar_shows_the_figures_of_the_last_epoch(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    small(max_epochs=100).fit(X[:20], y[:20] % 2, X_val=X[20:], y_val=y[20:] % 2)
    bars = [piece for piece in terminal.getvalue().split("\r") if "val_loss=" in piece and "batch/s" in piece]
    assert bars
    assert re.search(r"epoch \d+/100: .*loss=.*, val_loss=.*, val_score=", bars[-1])


def test_the_bar_of_a_fit_that_goes_on_begins_where_it_stopped(monkeypatch, tmp_path):
    class FailsLater(Checkpoint):
        def save(self, state, position):
            super().save(state, position)
            if position == (1, 0):  # after three epochs; the fourth is the cooldown
                raise RuntimeError("injected")

    clf = small(max_epochs=4, batch_size=30, checkpoint=tmp_path / "run")  # four batches an epoch
    with monkeypatch.context() as patch:
        patch.setattr(_read, "Checkpoint", FailsLater)
        with pytest.raises(RuntimeError, match="injected"):
            clf.fit(X, y)
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    clf.fit(X, y)
    assert re.findall(r"\| (\d+)/16 \[", terminal.getvalue())[0] == "12"
    first, second, *_ = screen(terminal.getvalue())
    assert first == "epoch 3/4, from a checkpoint" and second.startswith("epoch 4/4, ")


def test_elsewhere_the_line_of_a_fit_is_all_there_is_and_comes_in_one_write(monkeypatch):
    log = stand_in(monkeypatch, Stream())
    small().fit(X, y)
    assert [bool(re.fullmatch(LINE + "\n", text)) for text in log.writes if text] == [True]


@pytest.mark.parametrize("terminal", [False, True])
def test_from_2_on_every_epoch_leaves_a_line(terminal, monkeypatch):
    stream = stand_in(monkeypatch, Stream(terminal))
    small(verbose=2).fit(X, y)
    *lines, rest = screen(stream.getvalue())
    assert finished(lines) == [1, 2, 3] and rest == ""


def test_a_line_has_the_figures_of_the_validation_images(monkeypatch):
    log = stand_in(monkeypatch, Stream())
    small(max_epochs=3).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    assert re.fullmatch(LINE + r", val_loss=\d\.\d{4}, val_score=\d\.\d{4}\n", log.getvalue())


def test_zero_shows_nothing_and_makes_no_bar(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "tqdm", None)
    small(verbose=0).fit(X, y)
    assert capsys.readouterr() == ("", "")


def test_lines_do_not_break_a_bar_of_the_caller(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    with tqdm(total=2, desc="folds", file=terminal, ncols=60, mininterval=0) as folds:
        for _ in range(2):
            small().fit(X, y)
            folds.update()
    first, second, bar, rest = screen(terminal.getvalue())
    assert finished([first, second]) == [3, 3]
    assert re.fullmatch(r"folds: 100%\|.*\| 2/2 \[.*\]", bar) and rest == ""


def test_fits_in_threads_leave_whole_lines_and_redraw_nothing(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    threads = [threading.Thread(target=lambda: small(verbose=2).fit(X, y)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "\r" not in terminal.getvalue()
    assert sorted(finished(terminal.getvalue().splitlines())) == [1, 1, 2, 2, 3, 3]


def test_a_line_of_a_thread_makes_room_for_itself_above_a_bar(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    progress = _progress.Progress(1, 3, 4)
    thread = threading.Thread(target=lambda: small().fit(X, y))
    thread.start()
    thread.join()
    progress.end_epoch(1, {"train_loss": 0.5}, "valid_acc")
    progress.close()
    *lines, rest = screen(terminal.getvalue())
    assert finished(lines) == [3, 1] and rest == ""


def test_a_pipeline_that_tells_of_its_steps_keeps_lines_apart(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    monkeypatch.setattr(sys, "stdout", terminal)
    make_pipeline(ImageNormalizer(), small(), verbose=True).fit(X, y)
    *lines, rest = screen(terminal.getvalue())
    assert [line.split(" ")[0] for line in lines] == ["[Pipeline]", "epoch", "[Pipeline]"] and rest == ""
    assert finished(lines[1:2]) == [3]


class LosesTheNetwork(Callback):
    def on_epoch_end(self, net, **_):
        next(net.module_.parameters()).data.fill_(float("nan"))


def test_a_fit_that_fails_takes_its_bar_away_and_says_how_far_it_came(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))

    with pytest.raises(NonFiniteLossError):
        small(skorch_callbacks=[LosesTheNetwork()]).fit(X, y)
    *lines, rest = screen(terminal.getvalue())
    assert finished(lines) == [1] and rest == ""


def test_a_pass_over_many_images_shows_a_bar_that_goes(monkeypatch):
    monkeypatch.setattr(_progress, "_SHORT", 0.0)
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    clf = small(max_epochs=1).fit(X, y)
    frozen = small(max_epochs=1, weights=clf, trainable_blocks=0).fit(X, y)
    assert re.findall(r"\r(reading images|features of images):   0%", terminal.getvalue()) == [
        "reading images",
        "reading images",
        "features of images",
    ]
    assert finished(screen(terminal.getvalue())[:2], 1) == [1, 1] and screen(terminal.getvalue())[-1] == ""
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    frozen.predict(X)
    assert "predicting: " in terminal.getvalue() and screen(terminal.getvalue()) == [""]


def test_a_short_pass_shows_nothing(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    clf = small(max_epochs=1).fit(X, y)
    clf.predict(X)
    assert not any(title in terminal.getvalue() for title in ("reading images", "predicting"))


@pytest.mark.parametrize(("verbose", "terminal"), [(0, True), (1, False)])
def test_without_verbose_or_a_terminal_no_pass_shows_anything(verbose, terminal, monkeypatch):
    monkeypatch.setattr(_progress, "_SHORT", 0.0)
    clf = small(max_epochs=1, verbose=0).fit(X, y)
    stream = stand_in(monkeypatch, Stream(terminal=terminal))
    clf.set_params(verbose=verbose).predict(X)
    with _progress.pass_bar(verbose, "reading images", 3) as advance:
        advance(3)
    assert stream.getvalue() == ""


class Broken(Stream):
    """A pipe whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


class OnlyWrites:
    """The least that `print` is content with."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def closed():
    stream = Stream()
    stream.close()
    return stream


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("stream", [lambda: None, closed, Broken, OnlyWrites], ids=["None", "closed", "broken", "bare"])
def test_no_fit_is_lost_to_a_stream_that_cannot_be_written(stream, verbose, monkeypatch):
    stand_in(monkeypatch, stream())
    assert small(verbose=verbose).fit(X, y).n_iter_ == 3


def test_no_fit_is_lost_to_a_terminal_that_closes_meanwhile(monkeypatch):
    terminal = stand_in(monkeypatch, Stream(terminal=True))
    progress = _progress.Progress(2, 3, 4)
    terminal.close()
    list(progress.watch(range(4)))
    progress.end_epoch(1, {"train_loss": 0.5}, "valid_acc")
    progress.close()


def test_a_notebook_shows_a_bar_although_it_is_no_terminal(monkeypatch):
    stream = type("OutStream", (Stream,), {"__module__": "ipykernel.iostream"})()
    stand_in(monkeypatch, stream)
    small().fit(X, y)
    assert "batch/s" in stream.getvalue()


# torch 2.6 leaves a temporary folder to the end of the process, which then warns of it.
STRICTLY = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c"]

IN_A_NOTEBOOK = """
import sys, types
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: None)
sys.modules["ipywidgets"] = None
from sklearn.datasets import load_digits
from sklearn_cnn import CNNClassifier
X, y = load_digits(return_X_y=True)
CNNClassifier(filters=(4,), max_epochs=3, random_state=0, verbose=1).fit(X[:120], y[:120])
"""


def test_a_notebook_without_widgets_has_text_also_where_warnings_are_errors():
    done = subprocess.run([*STRICTLY, IN_A_NOTEBOOK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, finished(done.stderr.splitlines())) == (0, "", [3])


SEARCH = """
import sys
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn_cnn import CNNClassifier
X, y = load_digits(return_X_y=True)
estimator = CNNClassifier(filters=(4,), max_epochs=3, random_state=0, verbose=int(sys.argv[2]))
search = GridSearchCV(estimator, {"dropout": [0.0, 0.1]}, cv=2, n_jobs=int(sys.argv[1]), verbose=1)
search.fit(X[:120], y[:120])
"""


def run_on_a_terminal(*command):
    """All that a command wrote to a terminal of its own."""
    import pty  # these are not on Windows
    import termios

    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))  # tqdm draws nothing where there is no room
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:  # Linux says so where others give nothing
                part = b""
            if not part:
                break
            shown += part
    os.close(controller)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.slow
@pytest.mark.parametrize(("n_jobs", "verbose"), [(1, 1), (2, 1), (2, 2)])
def test_a_grid_search_on_a_terminal_leaves_whole_lines(n_jobs, verbose):
    shown = run_on_a_terminal(*STRICTLY, SEARCH, str(n_jobs), str(verbose))
    title, *lines, rest = screen(shown)
    assert title == "Fitting 2 folds for each of 2 candidates, totalling 4 fits" and rest == ""
    assert sorted(finished(lines)) == ([3] * 5 if verbose == 1 else [1] * 5 + [2] * 5 + [3] * 5)
    assert "batch/s" in shown
    if n_jobs == 2:  # the fits of other processes redraw nothing; the refit comes last, and is of the main process
        of_others = 1 + 4 * (1 if verbose == 1 else 3)
        assert not any("\r" in line for line in shown.replace("\r\n", "\n").split("\n")[:of_others])
