"""The farm as a researcher holds it: `connect`, `Farm`."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal
from uuid import uuid4

from aifarm.packages import Kind, PackageInvalid, pack, pack_source
from aifarm.sdk import calls, config
from aifarm.sdk.errors import InvalidRequest, NotFound
from aifarm.sdk.follow import watch
from aifarm.sdk.http import Http
from aifarm.sdk.task import Task
from aifarm.wire import rest
from aifarm.wire.types import JSON

Package = rest.PackageFull

Role = Literal["admin", "researcher", "viewer", "agent"]

PAGE = 1000


def connect(
    url: str | Sequence[str] | None = None,
    token: str | None = None,
    *,
    allow_plaintext: bool = False,
) -> "Farm":
    """The farm at `url`, spoken to with `token`. Where it has several servers, `url` may be a list
    of them: whichever serves the farm is spoken to, now and whenever another takes over.

    What is not given comes from AIFARM_URL and AIFARM_TOKEN, else from config.toml in the
    platform's config folder, else from a farm that runs on this machine. Raises FarmUnreachable
    where none is known or none answers, Unauthorized without a token, InsecureFarm where the
    token would cross a network in clear text and `allow_plaintext` does not allow it.
    """
    address = config.find(url, token, allow_plaintext=allow_plaintext)
    http = Http(address)
    try:
        http.reach()
    except BaseException:
        http.close()
        raise
    return Farm(http)


class Farm:
    """One farm. Safe to share between threads; `with` or `close()` ends its connections."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def __repr__(self) -> str:
        return f"<Farm {self.url}>"

    def __enter__(self) -> "Farm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        return self._http.address.url

    @property
    def version(self) -> str:
        """The server's version of AI Farm."""
        return self._http.send(calls.health()).version

    # ------------------------------------------------------------ packages

    def publish(
        self,
        folder_or_source: str | os.PathLike[str],
        name: str | None = None,
        version: str | None = None,
        *,
        entry: str = "model.py",
        kind: Kind = "declarative",
        defaults: Mapping[str, JSON] | None = None,
    ) -> Package:
        """Puts model code on the farm: a folder, one Python file, or its text.

        `name` is by default the folder's or file's, `version` a short hash of the content. The
        same content again is no error. Raises Conflict where the version holds other content,
        InvalidRequest where this is no package.
        """
        folder, source, found = _code(folder_or_source)
        name = name or found
        if not name:
            raise InvalidRequest("Say the package's name: publish(source, name=...).")

        def packed(as_version: str) -> bytes:
            if source is None:
                return pack(folder, name, as_version, entry=entry, kind=kind, defaults=defaults)
            return pack_source(source, name, as_version, entry=entry, kind=kind, defaults=defaults)

        try:
            version = version or hashlib.sha256(packed("0")).hexdigest()[:12]
            archive = packed(version)
        except PackageInvalid as error:
            raise InvalidRequest(str(error)) from None
        return self._http.send(calls.put_package(name, version, archive))

    def packages(self, name: str | None = None) -> list[Package]:
        """What is published, or what is published as `name`."""
        return self._http.send(calls.packages(name)).packages

    # ------------------------------------------------------------ tasks

    def submit(
        self,
        name: str | None = None,
        *,
        package: Package | None = None,
        version: str | None = None,
        url: str | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        epochs: int | None = None,
        distributed: bool | None = None,
        n_clients: int | None = None,
        requirements: Mapping[str, int] | None = None,
        min_gpu_memory: int | None = None,
        min_cpu_cores: int | None = None,
        min_ram: int | None = None,
        config: Mapping[str, JSON] | None = None,
        priority: int | None = None,
        share_gpu: bool | None = None,
        max_retries: int | None = None,
    ) -> Task:
        """A new task that trains `package`, or the one called `name` (its latest `version`).

        `requirements` are what each rank needs of its client, in MiB and cores (min_gpu_memory,
        min_cpu_cores, min_ram; also as arguments of their own). `n_clients` above 1 trains
        `distributed`. `config` holds your own hyperparameters. `max_retries` counts failures of
        your code; a lost client costs none. Raises NotFound for an unknown package,
        InvalidRequest for a value the farm does not take.
        """
        if package is not None:
            name, version = package.name, package.version
        if not name:
            raise InvalidRequest("Say what to train: submit(name=...) or submit(package=...).")
        named = {
            "min_gpu_memory": min_gpu_memory,
            "min_cpu_cores": min_cpu_cores,
            "min_ram": min_ram,
        }
        given = {key: value for key, value in named.items() if value is not None}
        body = calls.valid(
            rest.CreateTask,
            name=name,
            version=version if version or url else self._latest(name),
            url=url,
            batch_size=batch_size,
            learning_rate=learning_rate,
            epochs=epochs,
            distributed=(n_clients or 1) > 1 if distributed is None else distributed,
            n_clients=n_clients,
            requirements={**(requirements or {}), **given},
            config=dict(config or {}),
            priority=priority,
            share_gpu=share_gpu,
            max_retries=max_retries,
        )
        return Task(self._http, self._http.send(calls.create_task(body, str(uuid4()))))

    def task(self, id_or_prefix: str) -> Task:
        """The task with this id, or the only one whose id begins so.

        Raises NotFound where there is none, InvalidRequest where there are several.
        """
        if not id_or_prefix:
            raise InvalidRequest("Say which task: its id, or the first characters of it.")
        found = self._http.send(calls.list_tasks(prefix=id_or_prefix, limit=10))
        exact = [info for info in found.tasks if info.id == id_or_prefix]
        matches = exact or found.tasks
        if not matches:
            raise NotFound(f"There is no task {id_or_prefix}.")
        if len(matches) > 1:
            some = ", ".join(info.id for info in matches[:3])
            raise InvalidRequest(
                f"{found.total} tasks begin with {id_or_prefix}, such as {some}: give more of it."
            )
        return Task(self._http, matches[0])

    def tasks(
        self, *, status: str | None = None, submitter: str | None = None, limit: int = 100
    ) -> list[Task]:
        """The newest `limit` tasks, of one `status` or `submitter` where given."""
        found: list[Task] = []
        for page in range(1, -(-limit // PAGE) + 1):
            rows = self._http.send(
                calls.list_tasks(
                    page=page, limit=min(limit, PAGE), status=status, submitter=submitter
                )
            ).tasks
            found += [Task(self._http, info) for info in rows]
            if len(rows) < PAGE:
                break
        return found[:limit]

    def watch(self, *tasks: Task) -> Iterator[Task]:
        """Each of `tasks` as it is now, then whenever it changes, until all are over.

        What came last stands in the task's `info`.
        """
        return watch(self._http, tasks)

    # ------------------------------------------------------------ clients and tokens

    def clients(self) -> list[rest.ClientFull]:
        """Every workstation that ever joined, with what it has (memory in MiB) and does."""
        return self._http.send(calls.clients()).clients

    def tokens(self) -> list[rest.TokenFull]:
        """Every token, without its secret. For administrators."""
        return self._http.send(calls.tokens()).tokens

    def create_token(
        self,
        name: str,
        role: Role = "researcher",
        *,
        client_id: str | None = None,
        expires: float | None = None,
    ) -> rest.TokenFull:
        """A new token; its secret, `.token`, is shown only here. For administrators.

        `expires` in seconds from now. An agent's token may be bound to one `client_id`.
        """
        body = calls.valid(
            rest.CreateToken, name=name, role=role, client_id=client_id, expires=expires
        )
        return self._http.send(calls.create_token(body))

    def revoke_token(self, token_id: str) -> None:
        """Ends a token at once, and every connection that uses it. For administrators."""
        self._http.send(calls.revoke_token(token_id))

    # ------------------------------------------------------------ helpers

    def _latest(self, name: str) -> str:
        found = self.packages(name)
        if not found:
            raise NotFound(
                f"There is no package {name}: publish its folder first, with farm.publish or "
                "`aifarm publish`."
            )
        return max(found, key=lambda package: package.created_at).version


def _code(given: str | os.PathLike[str]) -> tuple[Path, str | None, str | None]:
    """The folder, or the text of the one file, and what its name suggests."""
    if isinstance(given, str) and "\n" in given:
        return Path(), given, None
    path = Path(given)
    if path.is_dir():
        return path, None, path.resolve().name
    if path.suffix == ".py" and path.is_file():
        return path.parent, path.read_text(encoding="utf-8"), path.stem
    raise InvalidRequest(
        f"{str(given)!r:.200} is no package: give a folder, a .py file, or its text."
    )
