from __future__ import annotations

from fuzz.fuzz_abi import exercise, targets
from fuzz.make_abi_corpus import CORPUS, seeds

# Their only field is the whole message, whatever it is.
NEVER_REFUSED = {"storage GetResponse"}


def test_the_seeds_are_those_that_the_script_makes() -> None:
    for name, content in seeds().items():
        assert (CORPUS / name).read_bytes() == content, name


def test_the_corpus_replays_and_everything_is_read() -> None:
    outcomes = {exercise(path.read_bytes()) for path in CORPUS.iterdir()}
    assert outcomes >= {name for name, _, _ in targets()}
    assert len(targets()) == len(seeds()) <= 256  # one byte chooses


def test_a_seed_without_its_last_byte_is_refused() -> None:
    with_fields = {name: seed for name, seed in seeds().items() if len(seed) > 1}
    outcomes = {exercise(seed[:-1]) for seed in with_fields.values()}
    expected = {name for name, _, _ in targets() if name.replace(" ", "-") in with_fields}
    assert outcomes == {f"{name} refused" for name in expected - NEVER_REFUSED} | NEVER_REFUSED
    assert exercise(b"") == "empty"
