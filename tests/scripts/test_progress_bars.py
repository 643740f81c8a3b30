"""The progress bar of images is closed at the end and after an error."""

import pytest

from fast_style.cli import progress
from fast_style.cli.progress import PictureProgressBar


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_the_bar_is_closed(pictures: int, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []

    class Bar(progress.tqdm):  # type: ignore[type-arg]
        def close(self) -> None:
            closed.append(id(self))
            super().close()

    monkeypatch.setattr(progress, "tqdm", Bar)

    def paint() -> None:
        with PictureProgressBar(pictures, header="Runtime: none.") as bar:
            bar.within(0.5)
            if fails:
                raise RuntimeError("no memory")
            bar.next("photo.png")

    if fails:
        with pytest.raises(RuntimeError, match="no memory"):
            paint()
    else:
        paint()
    assert closed


def test_one_image_without_parts_has_no_bar() -> None:
    with PictureProgressBar(1, header="Runtime: none.") as bar:
        bar.next("photo.png")
        assert bar.bar is None
