"""A rehearsal: a declarative package's first step, before it is published.

    python -m aifarm.train.rehearsal FOLDER ENTRY RESULT

does with FOLDER/ENTRY what the farm's worker would do: imports it, builds model and data, trains
on one batch and evaluates one. What came of it is written to the file RESULT as a JSON object:
`model` has the shape of each entry of the state_dict, `loss` is that of the step, `values` are the
plain ones among the module's names. Where something failed there is `failed` instead: what was
being done, the reason, and the line of ENTRY, or null.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

from aifarm.train import settings
from aifarm.train.learner import Learner
from aifarm.train.package import PackageInvalid, load, place, reason, trace
from aifarm.train.run import Run

PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set)
PLAIN_LIMIT = 10_000  # characters of a value's text


def rehearse(folder: Path, entry: str) -> dict[str, Any]:
    """What came of it, as RESULT has it."""
    learner = None
    run = Run(Path("aifarm-run").absolute(), config={})  # as off the farm, and it writes nothing
    try:
        package = load(folder, entry, required=("build_model", "build_data"))
        values = plain(vars(package))
        learner = Learner(run, package)
        return {**_first_step(learner), "values": values}
    except (Exception, SystemExit) as error:
        sys.stderr.write(trace(error))
        if isinstance(error, PackageInvalid):
            error = error.__cause__ or error  # of the import
        where = place(error, folder)
        failed = {
            "doing": learner.doing if learner else "the import",
            "reason": reason(error),
            "line": where[1] if where and where[0] == entry else None,
        }
        return {"failed": failed}


def _first_step(learner: Learner) -> dict[str, Any]:
    from torch.utils.data import Subset

    declared = getattr(learner.package, "defaults", None)
    cfg = settings.complete({}, declared if isinstance(declared, dict) else None)
    learner.build({"data_dir": str(learner.run.data_dir), **cfg})
    model = {name: list(value.shape) for name, value in learner.model.state_dict().items()}
    learner.begin_epoch(0)
    learner.distribute()
    report = learner.step(0)
    if learner.val_data is not None:
        size = min(cfg["batch_size"], len(learner.val_data))
        learner.val_data = Subset(learner.val_data, range(size))
        learner.evaluate()
    return {"model": model, "loss": float(report["loss"])}


def plain(names: dict[str, Any]) -> dict[str, str]:
    """Those of `names` whose values are plain (numbers, texts, and lists, tuples, dicts and sets
    of them), as Python text."""
    found = {}
    for name, value in names.items():
        if value is None or type(value) in PLAIN:
            text = repr(value)
            try:
                if len(text) <= PLAIN_LIMIT and ast.literal_eval(text) == value:
                    found[name] = text
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                pass
    return found


if __name__ == "__main__":
    result = rehearse(Path(sys.argv[1]).resolve(), sys.argv[2])
    Path(sys.argv[3]).write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # what the package has started (threads, loaders) is not waited for
