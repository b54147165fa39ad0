"""The tokens' fuzz target over its corpus, and over whatever is near to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_tokens import CORPUS, TARGETS, exercise, seeds


def test_the_seeds_are_those_that_the_script_makes() -> None:
    for name, content in seeds().items():
        assert (CORPUS / name).read_bytes() == content, name


def test_the_corpus_replays_and_reaches_every_kind_of_answer() -> None:
    outcomes = {exercise(path.read_bytes()) for path in CORPUS.iterdir()}
    names = {target.__name__.removeprefix("_") for target in TARGETS}

    assert outcomes == names | {f"{name} refused" for name in names}
    assert exercise(b"") == "empty"


@given(st.sampled_from(sorted(seeds().values())), st.integers(0), st.integers(0), st.binary(max_size=12))
def test_what_is_near_to_a_seed_is_refused_or_taken_and_no_other_error_comes(
    seed: bytes, at: int, cut: int, put: bytes
) -> None:
    at = 1 + at % (len(seed) - 1)

    exercise(seed[:at] + put + seed[at + cut % 12 :])
