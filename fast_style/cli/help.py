"""The text of `--help`: every setting with its value and the comment that stands beside it in `conf/`.

Hydra prints the values alone. The comments are read with PyYAML's positions, since its parser drops them; ruamel.yaml,
which keeps comments, would be one more dependency for this one use.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).resolve().parents[2] / "conf"
#: Groups of recipes, which set values of all kinds.
RECIPES = ("experiment", "optimization")
LONGEST_VALUE = 40
WIDEST_COLUMN = 40
#: The chosen option of a group, or several options, as `style=[wave,the_scream]`.
Choice = str | Sequence[str] | None


def register_help() -> None:
    """Let `conf/hydra/help/plain.yaml` say `${settings:}`."""
    OmegaConf.register_new_resolver("settings", lambda *, _root_: help_text(_root_), replace=True)


def help_text(cfg: DictConfig) -> str:
    """Groups and settings of a script, for Hydra's help template.

    Args:
        cfg: the composed configuration with its `hydra` node.
    """
    root = str(cfg.hydra.job.config_name)
    choices = _groups_with_lists(root)
    choices |= {group: option for group, option in cfg.hydra.runtime.choices.items() if not group.startswith("hydra/")}
    explanations = explanations_of(root, choices)
    lines = ["== Groups, chosen by group=option ==", *_group_lines(choices, root), ""] if choices else []
    lines += ["== Settings, changed by key=value =="]
    blocks: dict[str, list[tuple[str, str]]] = {"": []}
    for key, value in _leaves(cfg):
        blocks.setdefault(key.rpartition(".")[0].split(".")[0], []).append(
            (_row(key, value), explanations.get(key, ""))
        )
    lines.append("\n\n".join("\n".join(_aligned(rows)) for rows in blocks.values() if rows))
    # The template is filled by string.Template, where a dollar sign is written twice.
    return "\n".join(lines).replace("$", "$$")


def explanations_of(root: str, choices: Mapping[str, Choice]) -> dict[str, str]:
    """The comment of each setting by its dotted key, from the root file and the chosen options.

    Args:
        root: the script's file in `conf/`, without its suffix.
        choices: the chosen option of each group, as Hydra names groups: `data`, `optimizer@method.optimizer`.
    """
    found = comments_of(CONF / f"{root}.yaml")
    # A recipe's comment says why it changes a value, not what the setting does: it is the last to be asked.
    for group, option in sorted(choices.items(), key=lambda item: item[0] in RECIPES):
        folder, _, package = group.partition("@")
        for file in _files_of(CONF / folder, option):
            everywhere = "@package _global_" in file.read_text(encoding="utf-8")
            prefix = "" if everywhere else f"{package or folder}."
            for key, comment in comments_of(file).items():
                found.setdefault(prefix + key, comment)
    return found


def comments_of(file: Path) -> dict[str, str]:
    """The comment of each setting of a YAML file: behind its value, or in the lines directly above it."""
    text = file.read_text(encoding="utf-8")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return dict(_comments(node, text.splitlines(), "")) if isinstance(node, yaml.MappingNode) else {}


def _comments(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        end = key.end_mark if nested else value.end_mark
        comment = _behind(lines, end) or _above(lines, key.start_mark.line)
        if comment:
            yield name, comment
        if nested and name not in ("defaults", "hydra"):
            yield from _comments(value, lines, f"{name}.")


def _behind(lines: list[str], end: yaml.Mark) -> str:
    rest = lines[end.line][end.column :] if end.line < len(lines) else ""
    return rest.partition("#")[2].strip()


def _above(lines: list[str], line: int) -> str:
    words: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        words.insert(0, lines[line].strip(" #"))
    return " ".join(words)


def _files_of(folder: Path, option: Choice) -> Iterator[Path]:
    """The files of a chosen option, or of several options."""
    for name in [option] if isinstance(option, str) else option or []:
        yield from _with_defaults(folder / f"{name}.yaml")


def _with_defaults(file: Path) -> Iterator[Path]:
    """An option's file, and the options of the same group that it is built on."""
    if not file.is_file():
        return
    yield file
    for entry in OmegaConf.select(OmegaConf.load(file), "defaults", default=[]):
        if isinstance(entry, str) and entry != "_self_":
            yield from _with_defaults(file.with_name(f"{entry}.yaml"))


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings below a node by their dotted keys, in the order of the files, with their values as YAML."""
    for key in map(str, node):
        # This text is itself a value of `hydra`.
        if key.startswith("_") or key == "hydra":
            continue
        value = "???" if OmegaConf.is_missing(node, key) else _value(node, key)
        if isinstance(value, DictConfig) and _is_block(value):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _as_text(value)


def _is_block(value: DictConfig) -> bool:
    """Whether a mapping holds settings of its own; layer names with their weights are one value."""
    return "_target_" in value or any(OmegaConf.is_config(value._get_node(key)) for key in value)


def _value(node: DictConfig, key: str) -> Any:
    try:
        return node[key]
    except OmegaConfBaseException:  # It names a setting that has no value yet.
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[call-overload, index]


def _as_text(value: Any) -> str:
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return str(yaml.safe_dump(plain, default_flow_style=True, width=1000)).removesuffix("\n...\n").strip()


def _row(key: str, value: str) -> str:
    return f"{key}={value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + '...'}"


def _groups_with_lists(root: str) -> dict[str, Choice]:
    """Return the groups for which the root file chooses a list. Hydra does not record these choices."""
    entries = OmegaConf.to_container(OmegaConf.load(CONF / f"{root}.yaml").defaults)
    assert isinstance(entries, list)
    pairs = (pair for entry in entries if isinstance(entry, dict) for pair in entry.items())
    return {str(group): options for group, options in pairs if isinstance(options, list)}


def _group_lines(choices: Mapping[str, Choice], root: str) -> list[str]:
    """Each group with its options, and what each option is."""
    lines = []
    for group, option in sorted(choices.items()):
        files = sorted((CONF / group.partition("@")[0]).glob("*.yaml"))
        rows = [(f"  {file.stem}", headline(file)) for file in files if _is_for(file, root)]
        lines += [f"{group}={_as_text(option)}, one of" if rows else f"{group}={_as_text(option)}", *_aligned(rows)]
    return lines


def _is_for(file: Path, root: str) -> bool:
    """Whether this script may choose an option: `(scripts/optimize.py)` in its headline leaves it to that script."""
    scripts = re.findall(r"\(scripts/(\w+)\.py\)", headline(file))
    return not scripts or root in scripts


def headline(file: Path) -> str:
    """The first comment line of an option's file, which says in one line what the option is."""
    lines = (line.strip(" #") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next((line for line in lines if "@package" not in line), "")


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = min(max((len(left) for left, _ in rows), default=0), WIDEST_COLUMN)
    return [f"{left:<{width}}  {right}".rstrip() for left, right in rows]
