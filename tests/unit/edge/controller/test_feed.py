from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from edgeroot.edge.controller import feed
from edgeroot.edge.controller.feed import FeedReader, FeedSettings
from edgeroot.edge.controller.feed_page import FeedError, Page
from tests.support.verifier_feed import TOKEN, FeedDouble, entry, verifier_feed


class Heard:
    """What a reader tells."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.errors: list[str] = []
        self.starts = 0

    def start_over(self) -> None:
        self.starts += 1

    def failed(self, error: FeedError) -> None:
        self.errors.append(str(error))

    def devices(self) -> list[str]:
        return [result.device for page in self.pages for result in page.results]


@pytest.fixture
def double() -> Iterator[FeedDouble]:
    with verifier_feed() as found:
        yield found


@pytest.fixture
def token_path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    put_token(path)
    return path


def put_token(path: Path) -> None:
    path.write_text(f"{TOKEN}\n")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(feed, "_SLACK_S", 0.5)


def reading(double: FeedDouble, token_path: Path, story: Callable[[Heard], Awaitable[None]]) -> Heard:
    """Read while the story, a coroutine function, goes on."""
    heard = Heard()

    async def run() -> None:
        reader = FeedReader(
            FeedSettings(url=double.url, token_path=token_path),
            start_over=heard.start_over,
            page=heard.pages.append,
            failed=heard.failed,
        )
        task = asyncio.create_task(reader.read())
        try:
            await story(heard)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return heard


async def until(true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def test_the_whole_state_comes_in_pages_and_then_what_changes(double: FeedDouble, token_path: Path) -> None:
    double.page_max = 2
    double.say(*(entry(f"d{number}") for number in range(5)))

    async def story(heard: Heard) -> None:
        await until(lambda: len(heard.devices()) == 5)
        await until(lambda: double.asked[-1].wait_s)
        double.say(entry("d1"))
        await until(lambda: len(heard.devices()) == 6)

    heard = reading(double, token_path, story)

    assert heard.devices() == ["d0", "d1", "d2", "d3", "d4", "d1"]
    assert [page.more for page in heard.pages] == [True, True, False, False]
    assert heard.starts == 1
    assert [asked.wait_s for asked in double.asked[:4]] == [0, 0, 0, 25]


def test_it_goes_on_where_it_was_when_the_verifier_is_back(double: FeedDouble, token_path: Path) -> None:
    double.say(entry("d0"))

    async def story(heard: Heard) -> None:
        await until(heard.devices)
        double.stop()
        await until(lambda: len(heard.errors) >= 2)
        double.say(entry("d1"))
        double.start()
        await until(lambda: len(heard.devices()) == 2)

    heard = reading(double, token_path, story)

    assert heard.devices() == ["d0", "d1"]
    assert heard.starts == 1
    assert all("cannot be asked" in error for error in heard.errors)


def test_a_verifier_with_another_store_is_read_anew(double: FeedDouble, token_path: Path) -> None:
    double.say(entry("d0"), entry("d1"))

    async def story(heard: Heard) -> None:
        await until(heard.devices)
        await until(lambda: double.asked[-1].wait_s)
        double.restored(entry("d1"))
        await until(lambda: len(heard.devices()) == 3)

    heard = reading(double, token_path, story)

    assert heard.devices() == ["d0", "d1", "d1"]
    assert heard.starts == 2
    assert heard.errors == []


def test_a_token_that_was_replaced_is_used_from_then_on(double: FeedDouble, token_path: Path) -> None:
    double.say(entry("d0"))
    token_path.write_text("an old one")

    async def story(heard: Heard) -> None:
        await until(heard.errors.copy)
        put_token(token_path)
        await until(heard.devices)

    heard = reading(double, token_path, story)

    assert "refuses (401)" in heard.errors[0]
    assert not any(TOKEN in error or "an old one" in error for error in heard.errors)


def test_a_token_that_is_missing_is_waited_for(double: FeedDouble, token_path: Path) -> None:
    token_path.unlink()

    async def story(heard: Heard) -> None:
        await until(heard.errors.copy)
        put_token(token_path)
        await until(lambda: heard.pages)

    assert "token" in reading(double, token_path, story).errors[0]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((200, {}, b"<html>welcome</html>"), "page of its feed"),
        ((302, {"Location": "http://127.0.0.1:1/fleet/v1/changes"}, b""), r"refuses \(302\)"),
        ((500, {}, b"\x1b]0;owned\x07"), r"refuses \(500\): \?\]0;owned\?"),
        ((410, {}, b"{}"), r"refuses \(410\)"),
        ((200, {"Content-Length": str(17 << 20)}, b" " * (17 << 20)), "longer than a page"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "cannot be asked"),
    ],
)
def test_a_verifier_that_answers_anything_else_says_nothing(
    double: FeedDouble, token_path: Path, answer: tuple[int, dict[str, str], bytes], complaint: str
) -> None:
    double.answer = lambda: answer

    async def story(heard: Heard) -> None:
        await until(heard.errors.copy)
        double.answer = lambda: None
        await until(lambda: heard.pages)

    heard = reading(double, token_path, story)

    assert all(re.search(complaint, error) for error in heard.errors)


def test_a_verifier_that_hangs_is_given_up(
    double: FeedDouble, token_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_WAIT_S", 0)
    release = threading.Event()

    def hang() -> None:
        release.wait(10)

    double.answer = hang

    async def story(heard: Heard) -> None:
        await until(heard.errors.copy)
        release.set()
        await until(lambda: heard.pages)

    assert "Timeout" in reading(double, token_path, story).errors[0]


@pytest.mark.parametrize(
    "url", ["http://verifier.example:8443", "ftp://127.0.0.1", "verifier.example", "https://", "https://v.example?x=1"]
)
def test_a_verifier_whom_others_could_answer_for_is_not_asked(url: str) -> None:
    with pytest.raises(FeedError, match="verifier"):
        FeedReader(FeedSettings(url=url), start_over=print, page=print, failed=print)
