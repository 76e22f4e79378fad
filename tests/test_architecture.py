"""The rooms, and who may know whom: the contracts of pyproject.toml hold."""

from importlinter.cli import lint_imports


def test_contracts_hold() -> None:
    assert lint_imports(no_cache=True, no_logo=True) == 0
