"""Reads the verifier's feed for ever: the whole state first, then what changes, each answer as soon as there is one."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Never
from urllib.parse import urlsplit

import httpx2

from edgeroot.edge.controller.feed_page import FeedError, Page, read_page

_WAIT_S: Final = 25
_LIMIT: Final = 500
_PAGE_MAX_BYTES: Final = 16 << 20
_TOKEN_MAX_BYTES: Final = 4096
_CONNECT_S: Final = 5.0
_SLACK_S: Final = 10.0
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 20.0
_GONE: Final = 410
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """``token_path``: the viewer's token, read for each question, so that it may be replaced. ``ca_path``: None for
    the system's.
    """

    url: str
    token_path: Path | None = None
    ca_path: Path | None = None


class _CursorLostError(Exception):
    """The verifier does not know the cursor: its store was restored or made anew."""


def check_url(url: str) -> None:
    """FeedError for an address at which others could answer in the verifier's place."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise FeedError(f"{url} is no address of a verifier: it begins with https://")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise FeedError(f"a verifier is asked by https only, or on this machine itself, and not at {url}")


class FeedReader:
    """Tells ``page`` of each page, ``start_over`` before one that begins the whole state, ``failed`` of trouble."""

    def __init__(
        self,
        settings: FeedSettings,
        *,
        start_over: Callable[[], None],
        page: Callable[[Page], None],
        failed: Callable[[FeedError], None],
    ) -> None:
        check_url(settings.url)
        self._settings = settings
        self._start_over = start_over
        self._page = page
        self._failed = failed

    async def read(self) -> Never:
        timeout = httpx2.Timeout(_WAIT_S + _SLACK_S, connect=_CONNECT_S)
        context = ssl.create_default_context(cafile=self._settings.ca_path)
        async with httpx2.AsyncClient(
            base_url=self._settings.url, verify=context, timeout=timeout, trust_env=False
        ) as client:
            cursor: str | None = None
            whole, failures = False, 0
            while True:
                try:
                    if cursor is None:
                        self._start_over()
                        whole = False
                    # Nothing is waited for until the whole state is there.
                    page = await self._ask(client, cursor, wait_s=_WAIT_S if whole else 0)
                    cursor, whole, failures = page.cursor, not page.more, 0
                    self._page(page)
                except _CursorLostError:
                    _log.warning("the verifier does not know where the feed was read to: it is read anew")
                    cursor = None
                except FeedError as error:
                    self._failed(error)
                    delay_s = random.uniform(0.5, 1) * min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
                    failures += 1
                    _log.warning("the verifier is asked again in %.1f s: %s", delay_s, error)
                    await asyncio.sleep(delay_s)

    async def _ask(self, client: httpx2.AsyncClient, cursor: str | None, *, wait_s: int) -> Page:
        query = {"limit": str(_LIMIT), "wait": str(wait_s)}
        if cursor is not None:
            query["after"] = cursor
        try:
            async with client.stream("GET", "/fleet/v1/changes", params=query, headers=self._headers()) as response:
                if response.status_code == _GONE and cursor is not None:
                    raise _CursorLostError
                body = await self._body(response)
                if response.status_code != httpx2.codes.OK:
                    raise FeedError(f"the verifier refuses ({response.status_code}): {_excerpt(body)}")
                return read_page(body)
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            raise FeedError(f"the verifier cannot be asked: {type(error).__name__} {error}".rstrip()) from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._settings.token_path is not None:
            with self._settings.token_path.open("rb") as file:
                token = file.read(_TOKEN_MAX_BYTES).strip()
            headers["Authorization"] = f"Bearer {token.decode('ascii', 'replace')}"
        return headers

    async def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _PAGE_MAX_BYTES:
                raise FeedError("the verifier's answer is longer than a page can be")
        return bytes(body)


def _excerpt(body: bytes) -> str:
    """What a refusal says, cut and without what would steer a terminal."""
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return "".join(one if one.isprintable() else "?" for one in text)
