"""YAML read safely, and as it looks: `on:` is a word here, and so is the language `no`; no key is overwritten by a
second one."""

import re
from typing import Any

import yaml

BOOLEAN, INTEGER, FLOAT = ("tag:yaml.org,2002:" + kind for kind in ("bool", "int", "float"))
MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """The safe loader builds plain values alone. This one leaves yes, no, on and off as the words that they are, and
    010 and 1:30 as texts, which YAML 1.1 takes for 8 and 90; a key that a map has twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        met: dict[Any, Any] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if key.value in met:
                    first = met[key.value].start_mark.line + 1
                    told = f"{key.value!r} stands twice in one map, first on line {first}"
                    raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
                met[key.value] = key
        return super().construct_mapping(node, deep)


OWN = (BOOLEAN, INTEGER, FLOAT)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in OWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(INTEGER, re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    FLOAT,
    re.compile(
        r"^[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def load_yaml(text: str) -> Any:
    """Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506  a safe loader
