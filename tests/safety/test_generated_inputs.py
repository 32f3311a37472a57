"""Every input of every format ends in samples and rejects that add up, or in one line, in bounded memory and time."""

from collections.abc import Iterator

import pytest
from generated_inputs import FORMATS
from generated_runs import Reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One process for all of them: what one input leaves behind, the next one meets."""
    with Reader(tmp_path_factory.mktemp("generated")) as reader:
        yield reader


def faults(reader: Reader, format_: str, inputs: int) -> list[str]:
    found = list(reader.findings(format_, 0, inputs))
    assert sum(one.inputs for one in found) == inputs
    return [one.fault for one in found if one.fault]


@pytest.mark.parametrize("format_", FORMATS)
def test_an_input_ends_in_samples_and_rejects_or_in_one_line(reader: Reader, format_: str) -> None:
    assert faults(reader, format_, 50) == []


@pytest.mark.thorough
@pytest.mark.parametrize("format_", FORMATS)
def test_a_thousand_of_each_format_do(reader: Reader, format_: str) -> None:
    assert faults(reader, format_, 1000) == []
