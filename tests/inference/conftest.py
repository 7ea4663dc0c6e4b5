"""A predict verb that is stopped after the test."""

from collections.abc import AsyncIterator

import pytest

from tests.inference.asking import Asking
from tests.inference.parts import House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Version 1 of the model ``risk`` is loaded and answers for accounts a, b and c."""
    built = House()
    built.reader.values = {"a": [1.0] * 10, "b": [2.0] * 10, "c": [-3.0] * 10}
    built.serve(built.load())
    yield built
    await built.close()


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    built = Asking()
    yield built
    await built.house.close()
