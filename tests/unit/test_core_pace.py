"""What a step of a gang costs, and when one client alone would be faster."""

import pytest

from aifarm.core.pace import Pace

# ResNet-50 on three clients at 1 GbE (fp32): the links are what it waits for.
SLOW = Pace(world_size=3, compute=0.1, gradients=97.5, bandwidth=110, latency=0.001)
FAST = Pace(world_size=3, compute=0.1, gradients=97.5, bandwidth=2000, latency=0.0001)


def test_each_rank_sends_the_gradients_nearly_twice() -> None:
    assert SLOW.exchange == pytest.approx(0.001 + 4 / 3 * 97.5 / 110)
    assert SLOW.step == pytest.approx(0.1 + SLOW.exchange)
    assert SLOW.alone == pytest.approx(0.3)


def test_slow_links_make_one_client_the_better_choice_and_fast_ones_do_not() -> None:
    assert SLOW.slower
    assert not FAST.slower
    assert SLOW.words().startswith(
        "3 ranks: about 1.3 s a step (100 ms computing, 1.2 s for 98 MiB of gradients at"
        " 110 MiB/s). One of these clients alone would train faster, at about 300 ms"
    )
    assert FAST.words().endswith("2,000 MiB/s).")


def test_the_same_work_on_more_ranks_computes_less_on_each() -> None:
    six = FAST.of(6)
    assert six.alone == pytest.approx(FAST.alone)
    assert six.compute == pytest.approx(0.05)
    assert FAST.exchange < six.exchange < 2 * FAST.exchange
