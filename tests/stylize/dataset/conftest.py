"""Fixture: small data sets."""

import pytest
from painted_sets import lay_out


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """Created once: every complete file is flushed to disk, which takes time."""
    folder = tmp_path_factory.mktemp("data_sets")
    lay_out(folder)
    return folder
