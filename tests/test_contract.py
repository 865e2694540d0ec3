"""The contract with callers: what is in ``tests/contracts`` changes only on purpose."""

import pytest
from tools import contract


@pytest.mark.parametrize("name", ["routes", "commands", "metrics", "tables"])
def test_contract_is_unchanged(name: str) -> None:
    """Each part is what its file says; `python -m tools.contract` writes the files after an intended change."""
    assert contract.text_of(contract.contract()[name]) == (contract.FOLDER / f"{name}.json").read_text()
