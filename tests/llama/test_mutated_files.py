"""GGUF files with bytes changed: the child may end over one, the parent says what is wrong."""

from __future__ import annotations

import asyncio
import random

import pytest

from edgetool.errors import EngineError, ModelError, UsageError
from edgetool.llama.client import WorkerClient
from edgetool.llama.memory import footprint
from edgetool.llama.protocol import Done, Job
from edgetool.runtime import Sampling

HELLO = Job(({"role": "user", "content": "hello"},), sampling=Sampling(3))
HEADER = 4_096  # where all the structure of a small model's file is


def mutated(whole: bytes, number: int) -> bytes:
    """The file with some of its bytes changed, in its header or anywhere; every fourth is cut."""
    dice = random.Random(number)
    changed = bytearray(whole)
    end = HEADER if number % 2 else len(changed)
    for _ in range(dice.choice([1, 3, 20])):
        changed[dice.randrange(4, end)] = dice.choice([0, 255, dice.randrange(256)])
    return bytes(changed[: dice.randrange(4, len(changed))] if number % 4 == 0 else changed)


def test_the_footprint_of_any_file_can_be_told(gguf, tmp_path):
    whole, changed = gguf.read_bytes(), tmp_path / "changed.gguf"
    for number in range(300):
        changed.write_bytes(mutated(whole, number))
        assert footprint(changed).weights == changed.stat().st_size


async def write(writer: WorkerClient) -> Done:
    *_, last = [event async for event in writer.write(HELLO)]
    assert isinstance(last, Done)
    return last


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_the_parent_survives_a_mutated_file(gguf, tmp_path, number):
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(mutated(gguf.read_bytes(), number))
    try:
        with WorkerClient(changed, context=64, sequences=1) as writer:
            assert asyncio.run(write(writer)).prompt_tokens
    except ModelError as error:
        assert "changed.gguf" in str(error)
    except (EngineError, UsageError) as error:  # it loads, and its template or tokens make no sense
        assert str(error)
