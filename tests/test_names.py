"""Names: no two public classes of the project are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pvc
import pvc_store


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for package in (pvc, pvc_store):
        root = Path(package.__path__[0])
        for file in sorted(root.rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(file.relative_to(root.parent)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
