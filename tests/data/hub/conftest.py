"""Fixtures: caches of the test's own, and short waits."""

import datasets
import huggingface_hub
import pytest

from fast_style.data.hub import http, loading


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Empty caches of the datasets library, of the Hub and of files from servers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache" / "datasets")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "cache" / "downloads")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(loading, "PAUSE", 0.01)
    monkeypatch.setattr(http, "RETRIES", 1)
    monkeypatch.setattr(http, "TIMEOUT", (0.3, 0.3))
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(huggingface_hub.constants, name, 0.3)


@pytest.fixture
def on_hub(monkeypatch):
    """Send requests for the Hub to another URL."""

    def at(url):
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
        monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", url + "/datasets/{repo_id}/resolve/{revision}/{path}")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return at
