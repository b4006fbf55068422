"""A farm on this machine trains a model that reads digits: on one client, then over three.

    make demo            or    .venv/bin/python examples/demo.py
    make demo KEEP=1     or    .venv/bin/python examples/demo.py --keep

Starts a server and three agents, publishes examples/digits, submits two tasks through the SDK,
shows them while they train, and ends everything again. The weights stay in build/demo.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from aifarm import AIFarmError, Farm, Task
from aifarm.cli.progress import follow
from aifarm.local.farm import PORT, LocalFarm, end_on_signals

HERE = Path(__file__).resolve().parent
DIGITS = HERE / "digits"
WEIGHTS = HERE.parent / "build" / "demo"
GOOD_ENOUGH = 0.95

out = Console(highlight=False, soft_wrap=True)


def submit(farm: Farm) -> dict[str, Task]:
    """The two tasks, by what they are."""
    package = farm.publish(DIGITS)
    out.print(f"Published {package.name}, version {package.version} (a hash of its code).")
    alone = farm.submit(package=package, epochs=12, batch_size=32, learning_rate=0.003)
    spread = farm.submit(
        package=package,
        epochs=12,
        batch_size=32,
        learning_rate=0.003,
        distributed=True,
        n_clients=3,
    )
    return {"on one client": alone, "over three clients": spread}


def report(title: str, task: Task) -> bool:
    """Says what came of a task, and whether it is good enough."""
    info = task.info
    if info.status != "completed" or not (info.started_at and info.ended_at):
        out.print(f"\n[bold red]{title}: {info.status}[/] {info.message or ''}")
        return False
    accuracy = info.metrics["final_accuracy"] or 0.0
    seconds = (info.ended_at - info.started_at).total_seconds()
    checkpoint = task.checkpoint()
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = checkpoint.download(WEIGHTS / f"digits-{title.replace(' ', '-')}.pt")
    out.print(f"\n[bold]{title}:[/] test accuracy {accuracy:.4f}, trained in {seconds:.1f} s")
    out.print(f"  checkpoint {path}", f"  sha256     {checkpoint.sha256}", sep="\n", markup=False)
    for line in (
        "import runpy, torch",
        f"model = runpy.run_path({str(DIGITS / 'model.py')!r})['build_model']({{}})",
        f"model.load_state_dict(torch.load({str(path)!r}, weights_only=True)['model'])",
    ):
        out.print(f"    {line}", style="cyan", markup=False)
    return accuracy >= GOOD_ENOUGH


@contextmanager
def data_folder(given: Path | None) -> Iterator[Path]:
    """Where the demo's farm lives: `given`, or a folder that is removed at the end."""
    if given:
        yield given
        return
    with TemporaryDirectory(prefix="aifarm-demo-") as folder:
        yield Path(folder)


def demo(folder: Path, keep: bool) -> bool:
    local = LocalFarm(folder, agents=3)
    out.print(f"Starting a server and three agents in {local.data_dir} …")
    with local, local.connect() as farm:
        if local.port != PORT:
            out.print(f"Port {PORT} is taken, so this farm uses {local.port}.")
        out.print(f"The farm is up: {local.url} (its token is in {local.token_file})")
        tasks = submit(farm)
        follow(farm, list(tasks.values()), out)
        good = all([report(title, task) for title, task in tasks.items()])
        if keep:
            out.print(f"\nThe farm stays up until Ctrl-C: {local.url}")
            out.print(f"Its token is in {local.token_file}; logs are in {local.logs}")
            signal.pause()
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="A farm on this machine trains a model.")
    parser.add_argument("--keep", action="store_true", help="leave the farm up until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, help="default: temporary, removed at the end")
    arguments = parser.parse_args()
    end_on_signals()
    try:
        with data_folder(arguments.data_dir) as folder:
            good = demo(folder, arguments.keep)
    except AIFarmError as error:
        out.print(f"The demo failed: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        out.print("\nEverything has ended.")
        return 0 if arguments.keep else 130
    if not good:
        out.print(f"\nThe demo failed: an accuracy of {GOOD_ENOUGH} was not reached.", style="red")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
