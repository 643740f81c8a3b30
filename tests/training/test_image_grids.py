"""Terminal output of a run."""

import logging
import sys

from training_runs import train

from fast_style.training.callbacks.image_grids import ImageGridCallback


def test_log_messages_get_their_own_lines_beside_the_bar(tmp_path, monkeypatch, capsys):
    def warn(self, trainer, *_):
        logging.getLogger("anything").warning("Something is to be known at step %d.", trainer.global_step)

    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(logging.root, "handlers", [console])
    monkeypatch.setattr(ImageGridCallback, "on_train_batch_start", warn)
    train(tmp_path)
    assert logging.root.handlers == [console]
    out, err = capsys.readouterr()
    lines = (out + err).replace("\r", "\n").splitlines()
    assert [line for line in lines if "to be known" in line] == [
        f"Something is to be known at step {n}." for n in range(4)
    ]
