"""How time grows with length, without a word about how fast the machine is."""

import time
from collections.abc import Callable


def growth(function: Callable[[str], object], unit: str, length: int = 3000) -> float:
    """Give how many times longer `function` computes on eight times the text, best of three each."""

    def seconds(text: str) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            function(text)
            best = min(best, time.process_time() - start)
        return best

    text = unit * (length // len(unit) + 1)
    return seconds(text * 8) / max(seconds(text), 1e-4)
