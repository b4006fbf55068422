"""A result says what it came from, and comes out again."""

from aifarm import Farm
from e2e.packages import SLOW


def test_a_task_that_is_reproduced_differs_in_nothing(farm: Farm) -> None:
    package = farm.publish(SLOW, name="slow")
    first = farm.submit(
        package=package, epochs=2, batch_size=2, config={"seconds": 0.0, "seed": 3}
    ).wait(timeout=100)
    told = first.attempts()[0].provenance["0"]
    assert told["package"]["sha256"] == first.info.package_sha256
    assert (told["seed"], len(told["packages_sha256"])) == (3, 64)
    second = first.reproduce().wait(timeout=100)
    assert second.parent == first.id
    assert first.differences(second) == []
    third = farm.submit(package=package, epochs=2, batch_size=2, config={"seconds": 0.0, "seed": 4})
    third.wait(timeout=100)
    found = {one.what: (one.first, one.second) for one in first.differences(third)}
    assert found.pop("metrics.loss")
    assert found.pop("metrics.final_loss")
    assert found == {"config.seed": (3, 4), "provenance.seed": (3, 4)}
