"""What to submit, checked here as the farm will check it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypedDict

from aifarm.sdk.call import valid
from aifarm.sdk.content import AnyData, data_refs
from aifarm.wire import requests, rest
from aifarm.wire.types import JSON, Processes


class Submission(TypedDict, total=False):
    """The options of `Farm.submit`, which has them in words."""

    package: rest.PackageFull | None
    version: str | None
    url: str | None
    batch_size: int | None
    learning_rate: float | None
    epochs: int | None
    distributed: bool | None
    n_clients: int | None
    processes_per_client: Processes | None
    requirements: Mapping[str, int] | None
    min_gpu_memory: int | None
    min_cpu_cores: int | None
    min_ram: int | None
    config: Mapping[str, JSON] | None
    priority: int | None
    share_gpu: bool | None
    max_retries: int | None
    project: str | None
    title: str | None
    tags: Iterable[str]
    notes: str | None
    env: Mapping[str, str] | None
    best: Mapping[str, Literal["min", "max"]] | None
    from_checkpoint: str | None
    environment: str | None
    args: Sequence[str | int | float]
    resume_args: Sequence[str | int | float]
    outputs: Iterable[str]
    mounts: Mapping[str, str | os.PathLike[str]] | None
    progress_from: str | None
    data: Mapping[str, AnyData] | None


def task_body(name: str, options: Submission) -> requests.CreateTask:
    """The request's body. Raises InvalidRequest."""
    fields = {key: value for key, value in options.items() if key != "package"}
    named = {key: fields.pop(key, None) for key in ("min_gpu_memory", "min_cpu_cores", "min_ram")}
    given = {key: value for key, value in named.items() if value is not None}
    if fields.get("distributed") is None:
        processes = options.get("processes_per_client") or 1
        fields["distributed"] = (options.get("n_clients") or 1) > 1 or processes != 1
    fields["requirements"] = {**(options.get("requirements") or {}), **given}
    fields["tags"] = list(options.get("tags") or ())
    for key in ("config", "env", "best"):
        fields[key] = dict(fields.get(key) or {})  # type: ignore[call-overload]
    fields["args"] = [str(one) for one in options.get("args") or ()]
    fields["resume_args"] = [str(one) for one in options.get("resume_args") or ()]
    fields["outputs"] = list(options.get("outputs") or ())
    mounts = options.get("mounts") or {}
    fields["mounts"] = {inside: os.fspath(path) for inside, path in mounts.items()}
    fields["data"] = data_refs(options.get("data"))
    return valid(requests.CreateTask, name=name, **fields)
