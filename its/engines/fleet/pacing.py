"""How many requests a server gets at once, when it is left to rest, and when it is set aside.

No clock and no network here: callers pass the time, so that tests need not wait.
"""

from __future__ import annotations

import random

START = 8  # requests in flight at a server before it has answered any
SLOW = 4.0  # the limit does not grow while a token takes this many times as long as at best
# Seconds per token are the whole wait over (tokens + 32): the 32 account for the prompt and the round trip, so that
# short answers do not look slow.
OVERHEAD_TOKENS = 32
SAMPLES = 8  # answers before a mean is trusted
FORGET = 1.001  # factor by which the best decays per answer: prompts grow longer, other users come
LONGEST = 120  # upper limit of a wait, in units of the first one: 0.5 s doubles up to 60 s
LEAST_RETRY_AFTER_SECONDS = 0.05  # a smaller one is ignored: a busy server that is retried at once stays busy
MOST_RETRY_AFTER_SECONDS = 300.0  # a larger one is cut: a retry is cheap, sleeping through a recovery is not
SET_ASIDE_AFTER = 5  # failures in a row


def backoff(number: int, first_seconds: float, chance: random.Random, least: float = 0.0) -> float:
    """Seconds before attempt `number` + 1: uniform up to a bound that doubles each time (full jitter).

    Args:
        least: lower end, as a share of the bound: 0.5 draws from its upper half.
    """
    bound = first_seconds * min(LONGEST, 2.0 ** min(number - 1, 30))
    return bound * chance.uniform(least, 1.0)


class Pace:
    """One server's pace.

    The limit starts low, doubles with every round of answers until the first sign of strain and then grows by one a
    round; it is halved when the server is busy or late, once for all requests in flight at that moment. It grows only
    while it is what limits the server.

    Args:
        bound: upper limit of the limit.
        first_seconds: the first wait of a series.
    """

    def __init__(self, bound: int, first_seconds: float, chance: random.Random) -> None:
        self.bound, self.limit = bound, min(bound, START)
        self.under_way = 0
        self.aside = False
        self.rests_until = float("-inf")
        self._first, self._chance = first_seconds, chance
        self._steep, self._credit = True, 0
        self._recent: float | None = None
        self._least: float | None = None
        self._answers = 0
        self._halved_at = self._held_at = float("-inf")
        self._held = self._failures = self._probes = 0

    def up(self, now: float) -> bool:
        """Whether it may get requests now."""
        return not self.aside and now >= self.rests_until

    def room(self) -> bool:
        """Whether it may get one more request."""
        return self.under_way < self.limit

    def answered(self, began: float, now: float, tokens: int) -> None:
        """Note an answer; call it while the request still counts as in flight."""
        self._failures = self._held = self._probes = 0
        price = (now - began) / (tokens + OVERHEAD_TOKENS)
        self._recent = price if self._recent is None else 0.9 * self._recent + 0.1 * price
        self._answers += 1
        if self._answers >= SAMPLES:
            self._least = self._recent if self._least is None else min(FORGET * self._least, self._recent)
        slow = self._least is not None and self._recent > SLOW * self._least
        if slow:
            self._steep = False
        if slow or self.under_way < self.limit or began < self._halved_at:
            return
        self._credit += 1
        if self._steep or self._credit >= self.limit:
            self.limit, self._credit = min(self.bound, self.limit + 1), 0

    def late(self, began: float, now: float) -> None:
        """Note that a request timed out, or that the server is busy."""
        if began >= self._halved_at:
            self.limit, self._halved_at = max(1, self.limit // 2), now
            self._steep, self._credit = False, 0

    def busy(self, began: float, now: float, retry_after_seconds: float | None) -> float:
        """Note that the server is busy; returns the seconds for which to leave it alone.

        Without a Retry-After the wait doubles from one refusal to the next; refusals of requests that were in flight
        together count as one.
        """
        self.late(began, now)
        if retry_after_seconds is not None and retry_after_seconds >= LEAST_RETRY_AFTER_SECONDS:
            self.rests_until = max(self.rests_until, now + min(retry_after_seconds, MOST_RETRY_AFTER_SECONDS))
        elif began >= self._held_at:
            self._held += 1
            self.rests_until = max(self.rests_until, now + backoff(self._held, self._first, self._chance, 0.5))
        self._held_at = now
        return max(0.0, self.rests_until - now)

    def failed(self) -> bool:
        """Note a failed attempt; True if this one sets the server aside."""
        self._failures += 1
        if self.aside or self._failures < SET_ASIDE_AFTER:
            return False
        self.aside = True
        return True

    def probe_seconds(self) -> float:
        """The wait before the next probe of a server that is set aside; longer each time until it answers."""
        self._probes += 1
        return backoff(self._probes + 2, self._first, self._chance, 0.5)

    def back(self) -> None:
        """The server is alive again: it starts from the initial limit, and one more failure sets it aside again."""
        self.aside = False
        self._failures = SET_ASIDE_AFTER - 1
        self.limit, self._steep, self._credit = min(self.bound, START), True, 0
