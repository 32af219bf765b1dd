"""Tables in the documentation are as the code says."""

from __future__ import annotations

import pytest
from tests.docs.generated import TABLES, current


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_as_the_code_says(name: str) -> None:
    page, table = TABLES[name]
    assert current(name) == table(), f"{page.name} has drifted: run python -m tests.docs.generated"
