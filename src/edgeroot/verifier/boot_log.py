"""Judging the event log that came with a quote: it must give the quoted PCRs their values, and its events be known.

A log is believed only as far as the TPM's signature reaches it: the digests of a PCR's events, extended one after
another (TCG PC Client Platform Firmware Profile, clause 10), must give the value that was quoted. What a log says of a
PCR without reference values for events is compared with the quote, and otherwise not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeroot.evidence import Event, EvidenceError, VerifiedQuote, read_event_log, replay
from edgeroot.evidence.event_log import EV_NO_ACTION
from edgeroot.verifier.corim import ReferenceValue, event_name, event_pcr_of
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.ports import Knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFinding:
    """What was found of one PCR, or of one event that extended it."""

    index: int
    check: str
    passed: bool
    words: str
    component: ComponentVerdict | None = None


def judge_log(
    log: bytes, quote: VerifiedQuote, references: set[ReferenceValue], endorsements: Knowledge
) -> Iterator[LogFinding]:
    """Nothing if there is neither a log nor a reference value for an event."""
    known = {(index, one.measurement): one for one in references if (index := event_pcr_of(one)) is not None}
    wanted = {index for index, _measurement in known}
    if not log:
        yield from (
            _failed(index, f"PCR {index} has known events, but no event log came along") for index in sorted(wanted)
        )
        return
    try:
        events = read_event_log(log)
        values = replay(events, quote.bank)
    except EvidenceError as error:
        yield from (_failed(index, f"the event log cannot be read: {error}") for index in sorted(wanted or {0}))
        return
    for index in sorted(wanted | (values.keys() & quote.pcrs.keys())):
        problem = _mismatch(index, quote.pcrs.get(index), values.get(index))
        if problem is not None:
            yield _failed(index, problem)
            continue
        yield LogFinding(
            index=index, check="event-log", passed=True, words=f"the event log gives PCR {index} its value"
        )
        if index in wanted:
            digests = _digests(events, index, quote.bank)
            yield from (_judge_event(index, *one, known, endorsements) for one in enumerate(digests, start=1))


def _failed(index: int, words: str) -> LogFinding:
    return LogFinding(index=index, check="event-log", passed=False, words=words)


def _mismatch(index: int, quoted: bytes | None, replayed: bytes | None) -> str | None:
    if quoted is None:
        return f"PCR {index} was not quoted"
    if replayed is None:
        return f"the event log says nothing of PCR {index}"
    if quoted != replayed:
        return f"the event log does not give PCR {index} its value: it was changed or cut off, or is another boot's"
    return None


def _digests(events: Sequence[Event], index: int, bank: int) -> list[bytes]:
    return [
        dict(event.digests)[bank] for event in events if event.pcr_index == index and event.event_type != EV_NO_ACTION
    ]


def _judge_event(
    index: int,
    number: int,
    digest: bytes,
    known: dict[tuple[int, bytes], ReferenceValue],
    endorsements: Knowledge,
) -> LogFinding:
    match = known.get((index, digest))
    what = f"event {number} of PCR {index}"
    reason = None if match is None else endorsements.component_revoked(match)
    if match is None:
        outcome, words = Match.NOT_MATCHED, f"{what} is not known: {digest.hex()}"
    elif reason is not None:
        outcome, words = Match.REVOKED, f"{what} was revoked: {reason}"
    else:
        outcome, words = Match.MATCHED, f"{what} is known" + (f" (version {match.version})" if match.version else "")
    version = match.version if match is not None and match.version else ""
    return LogFinding(
        index=index,
        check="component",
        passed=outcome is Match.MATCHED,
        words=words,
        component=ComponentVerdict(name=event_name(index), match=outcome, measurement=digest, version=version),
    )
