"""How Sphinx builds the site: `make docs`."""

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).parents[1]))
from fast_style.version import __version__

project, release = "fast_style", __version__
html_title = f"{project} {release}"
extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
#: Where the files of the repository can be read, for links out of docs/. Without it they are plain text on the site.
REPOSITORY = os.environ.get("FAST_STYLE_REPOSITORY_URL", "")

apidoc_modules = [
    {
        "path": "../fast_style",
        "destination": "api",
        "separate_modules": False,
        "module_first": True,
        "implicit_namespaces": False,
    }
]
# Docstrings write names and formulas between single backticks.
default_role = "code"
napoleon_use_ivar = True
add_module_names = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
# Optional packages; the site is built without them.
autodoc_mock_imports = ["av", "google_crc32c", "onnx", "onnxruntime", "onnxscript", "openvino", "ray"]
copybutton_prompt_text = ""
# A type such as `bytes` may have the name of an attribute; the site then links neither.
suppress_warnings = ["ref.python"]


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, which browsers show themselves: the site needs no script from another server."""
    app.connect("source-read", _link_to_repository)
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def _link_to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    def link(match: re.Match[str]) -> str:
        return f"[{match[1]}]({REPOSITORY}/{match[2]})" if REPOSITORY else match[1]

    source[0] = re.sub(r"(?<!!)\[([^]]+)\]\(\.\./([^)]+)\)", link, source[0])


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


html_math_renderer = "mathml"
