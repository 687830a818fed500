"""How many requests a server gets at once, when it is left alone, and when it is set aside.

No clock and no network here: callers pass the time, so that tests need not wait.
"""

from __future__ import annotations

import random

START = 8  # requests at once that a server gets before it has answered any
SLOW = 4.0  # the limit stays where it is while a token takes this many times as long as it did at best
# A token's price in time is the whole wait over (tokens + 32): the 32 stand for the prompt and the way there, so that
# short answers do not look slow.
OVERHEAD_TOKENS = 32
SAMPLES = 8  # answers before a mean is trusted
FORGET = 1.001  # the best is forgotten by this factor an answer: prompts grow longer, other users come
LONGEST = 120  # a wait is never longer than this many times the first one: 0.5 s doubles up to 60 s
LEAST_TOLD_SECONDS = 0.05  # one below this says nothing: a busy server that is asked again at once stays busy
LONGEST_TOLD_SECONDS = 300.0  # a Retry-After beyond this is cut: asking is cheap, sleeping through a recovery is not
SET_ASIDE_AFTER = 5  # failures in a row


def backoff(number: int, first_seconds: float, chance: random.Random, least: float = 0.0) -> float:
    """Seconds before attempt `number` + 1: drawn evenly up to a bound that doubles with each (full jitter).

    Args:
        least: of the bound, as a share: 0.5 draws from its upper half.
    """
    bound = first_seconds * min(LONGEST, 2.0 ** min(number - 1, 30))
    return bound * chance.uniform(least, 1.0)


class Pace:
    """One server's pace.

    The limit starts low, doubles with every round of answers until the first sign of strain and grows by one a round
    from then on; it is halved when the server is busy or late, once for all requests that were under way by then. It
    grows only while it is what holds requests back.

    Args:
        bound: the limit never exceeds it.
        first_seconds: the first wait of every series of waits.
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
        """Whether it may be sent anything now."""
        return not self.aside and now >= self.rests_until

    def room(self) -> bool:
        """Whether it may be sent one more."""
        return self.under_way < self.limit

    def answered(self, began: float, now: float, tokens: int) -> None:
        """An answer came; call it while the request still counts as under way."""
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
        """A request that began then was not answered in time, or the server said that it is busy."""
        if began >= self._halved_at:
            self.limit, self._halved_at = max(1, self.limit // 2), now
            self._steep, self._credit = False, 0

    def busy(self, began: float, now: float, told_seconds: float | None) -> float:
        """The server wants to be left alone; returns for how many seconds from now.

        Without a Retry-After the wait doubles from one refusal to the next; refusals of requests that were under way
        together are one.
        """
        self.late(began, now)
        if told_seconds is not None and told_seconds >= LEAST_TOLD_SECONDS:
            self.rests_until = max(self.rests_until, now + min(told_seconds, LONGEST_TOLD_SECONDS))
        elif began >= self._held_at:
            self._held += 1
            self.rests_until = max(self.rests_until, now + backoff(self._held, self._first, self._chance, 0.5))
        self._held_at = now
        return max(0.0, self.rests_until - now)

    def failed(self) -> bool:
        """An attempt failed; True if this one sets the server aside."""
        self._failures += 1
        if self.aside or self._failures < SET_ASIDE_AFTER:
            return False
        self.aside = True
        return True

    def probe_seconds(self) -> float:
        """How long to wait before the next look at a server that is set aside; longer each time until it answers."""
        self._probes += 1
        return backoff(self._probes + 2, self._first, self._chance, 0.5)

    def back(self) -> None:
        """The server was seen alive again: it starts from the beginning, and one more failure sets it aside again."""
        self.aside = False
        self._failures = SET_ASIDE_AFTER - 1
        self.limit, self._steep, self._credit = min(self.bound, START), True, 0
