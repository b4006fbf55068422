"""How long a step of a gang takes, from what was measured of its links and of its work. Pure."""

from msgspec import Struct


class Pace(Struct, frozen=True):
    """What a step of `world_size` ranks costs.

    `compute`: seconds that each rank computes; `gradients`: MiB that the ranks exchange then;
    `bandwidth`: MiB/s that each rank sends while all exchange; `latency`: seconds that an exchange
    takes which carries next to nothing.
    """

    world_size: int
    compute: float
    gradients: float
    bandwidth: float
    latency: float

    @property
    def exchange(self) -> float:
        """Seconds: on a ring each rank sends all gradients nearly twice, whatever their number."""
        sent = 2 * (self.world_size - 1) / self.world_size * self.gradients
        return self.latency + sent / self.bandwidth

    @property
    def step(self) -> float:
        """Seconds, where nothing of the exchange hides behind the computing."""
        return self.compute + self.exchange

    @property
    def alone(self) -> float:
        """Seconds that one such client takes for the work of all ranks."""
        return self.compute * self.world_size

    @property
    def slower(self) -> bool:
        """Whether one client alone would train faster."""
        return self.alone < self.step

    def of(self, world_size: int) -> "Pace":
        """The same work shared by so many ranks, over the same links."""
        return Pace(
            world_size, self.alone / world_size, self.gradients, self.bandwidth, self.latency
        )

    def words(self) -> str:
        """Sentences for the submitter."""
        said = (
            f"{self.world_size} ranks: about {_seconds(self.step)} a step"
            f" ({_seconds(self.compute)} computing, {_seconds(self.exchange)} for"
            f" {_number(self.gradients)} MiB of gradients at {_number(self.bandwidth)} MiB/s)."
        )
        if not self.slower:
            return said
        return (
            f"{said} One of these clients alone would train faster, at about"
            f" {_seconds(self.alone)} for the same work: leave n_clients out, accumulate gradients"
            " (grad_accumulation) or compress them (compress_gradients)."
        )


def _seconds(value: float) -> str:
    return f"{_number(value)} s" if value >= 0.95 else f"{_number(1000 * value)} ms"


def _number(value: float) -> str:
    """With two digits that count."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
