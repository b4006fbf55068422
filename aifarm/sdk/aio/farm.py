"""The farm as a researcher holds it: `connect`, `Farm`."""

import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, Unpack
from uuid import uuid4

from aifarm.packages import Kind
from aifarm.sdk import calls, config
from aifarm.sdk.aio.client import AsyncClient
from aifarm.sdk.aio.events import all_events
from aifarm.sdk.aio.follow import watch
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.putting import put
from aifarm.sdk.aio.runtime import aside, live_view
from aifarm.sdk.aio.task import AsyncTask
from aifarm.sdk.call import Call, valid
from aifarm.sdk.choice import chosen
from aifarm.sdk.code import Code
from aifarm.sdk.content import AnyData, Content, data_refs
from aifarm.sdk.errors import InvalidRequest, NotFound
from aifarm.sdk.finding import Matching, asked, several, task_filter
from aifarm.sdk.frames import TaskList
from aifarm.sdk.notebook import Notebook, try_out
from aifarm.sdk.submission import Submission, task_body
from aifarm.wire import live, query, requests, rest
from aifarm.wire.types import JSON, Processes

Package = rest.PackageFull
Data = rest.DataFull

Role = Literal["admin", "researcher", "viewer", "agent"]

P = TypeVar("P", rest.ClientFullList, rest.DataList, rest.PackageList, rest.TokenList)

BULK = 1000
"""Tasks that one request changes at most."""


async def connect_async(
    url: str | Sequence[str] | None = None,
    token: str | None = None,
    *,
    allow_plaintext: bool = False,
) -> "AsyncFarm":
    """The farm at `url`, spoken to with `token`. Where it has several servers, `url` may be a list
    of them: whichever serves the farm is spoken to, now and whenever another takes over.

    What is not given comes from AIFARM_URL and AIFARM_TOKEN, else from config.toml in the
    platform's config folder, else from a farm that runs on this machine. Raises FarmUnreachable
    where none is known or none answers, Unauthorized without a token, InsecureFarm where the
    token would cross a network in clear text and `allow_plaintext` does not allow it.
    """
    address = config.find(url, token, allow_plaintext=allow_plaintext)
    http = AsyncHttp(address)
    try:
        await http.reach()
    except BaseException:
        await http.close()
        raise
    return AsyncFarm(http)


class AsyncFarm:
    """One farm. `with` or `close()` ends its connections; several tasks or threads may share it.

    Whatever is asked may raise an AIFarmError: FarmUnreachable, Unauthorized, Forbidden,
    RateLimited and Unavailable anywhere, others as each method says.
    """

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    def __repr__(self) -> str:
        return f"<Farm {self.url}>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        return live_view("FarmView", self)

    async def __aenter__(self) -> "AsyncFarm":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    @property
    def url(self) -> str:
        return self._http.address.url

    @property
    async def version(self) -> str:
        """The server's version of AI Farm."""
        return (await self._http.send(calls.health())).version

    async def system(self) -> rest.System:
        """How the server is: its database, its queue, its disk in MiB. For administrators."""
        return await self._http.send(calls.system())

    async def metrics(self) -> rest.FarmMetrics:
        """How busy the farm is: clients, tasks by state, use in percent, and how fast tasks end
        and metric points come in."""
        return await self._http.send(calls.farm_metrics())

    # ------------------------------------------------------------ packages

    async def publish(
        self,
        folder_or_source: str | os.PathLike[str],
        name: str | None = None,
        version: str | None = None,
        *,
        entry: str = "model.py",
        kind: Kind = "declarative",
        defaults: Mapping[str, JSON] | None = None,
        data: Mapping[str, AnyData] | None = None,
    ) -> Package:
        """Puts model code on the farm: a folder, one Python file, or its text.

        `name` is by default the folder's or file's, `version` a short hash of the content. `data`
        is what every task of it gets that does not name other data so. A folder's package says
        which commit of git it is, and what was changed since. The same content again is no error.
        Raises Conflict where the version holds other content,
        InvalidRequest where this is no package.
        """
        code = Code.of(
            folder_or_source,
            name,
            entry=entry,
            kind=kind,
            defaults=defaults,
            data=data_refs(data),
        )
        if not version:
            version = hashlib.sha256(await aside(code.packed, "0")).hexdigest()[:12]
        archive = await aside(code.packed, version, await aside(code.origin))
        return await self._http.send(calls.put_package(code.name, version, archive))

    async def publish_cells(
        self,
        *functions: Callable[..., object] | str,
        name: str,
        version: str | None = None,
        defaults: Mapping[str, JSON] | None = None,
        data: Mapping[str, AnyData] | None = None,
        model: object | None = None,
        cells: Sequence[str] | None = None,
        verify: bool = True,
        timeout: float | None = 300.0,
    ) -> Package:
        """Puts functions of this notebook on the farm, by their source and with all that they use:
        other functions, classes, imports, and values that can be made again.

        `functions` are themselves or their names; without any, all that a package may have and the
        cells define: build_model, build_data, build_optimizer, build_scheduler, loss, metrics, and
        the dict `defaults`, which may be given here instead. What counts is the last definition
        that ran. Before it leaves, the package trains one batch in a clean process of this
        interpreter, within `timeout` seconds, on what lies in ./aifarm-run/data where it names
        `data`; the state of its model must have the shapes of `model`, where one is given.
        `verify=False` leaves that out, for data that is not here.
        `cells` are by default those that ran in this notebook, in that order.

        Raises InvalidRequest, which names the cell and the line, for what cannot travel or does
        not work; else as `publish`.
        """
        notebook = Notebook.of(cells)
        source = notebook.source(functions, defaults)
        if verify:
            await aside(try_out, notebook, source, model, timeout)
        return await self.publish(source.text, name, version, data=data)

    async def packages(self, name: str | None = None) -> list[Package]:
        """What is published, or what is published as `name`, the oldest version first."""
        parts = await self._whole(lambda cursor: calls.packages(name, cursor))
        return [package for part in parts for package in part.packages]

    async def package(self, name: str, version: str | None = None) -> Package:
        """One package with its `manifest`; the latest of this `name` without a `version`. Raises
        NotFound."""
        version = version or await self._latest(name)
        return await self._http.send(calls.package(name, version))

    async def delete_package(self, name: str, version: str) -> None:
        """Deletes what you published. Raises Conflict while a task may still need it."""
        await self._http.send(calls.delete_package(name, version))

    # ------------------------------------------------------------ data

    async def put(
        self,
        what: object,
        name: str | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Data:
        """Puts data on the farm, for `submit(data={"train": ...})`: a file or a folder by its
        path, a NumPy array or a torch tensor.

        What is there already is not sent again; what broke off goes on. An array becomes a .npy
        file. A folder keeps its regular files, and links that stay inside as what they lead to.
        `name` is for people, by default the path's. `progress` is called with the bytes stored
        and those of all. Raises InvalidRequest for what cannot be put.
        """
        return await put(self._http, await aside(Content.of, what, name), progress)

    async def data(self, name: str | None = None) -> list[Data]:
        """What was put on the farm, or put as `name`, the newest first."""
        parts = await self._whole(lambda cursor: calls.list_data(name, cursor))
        return [data for part in parts for data in part.data]

    async def delete_data(self, data: Data | str) -> None:
        """Deletes what you put, named by its sha256. Raises Conflict while a task needs it."""
        await self._http.send(calls.delete_data(data if isinstance(data, str) else data.sha256))

    # ------------------------------------------------------------ tasks

    async def submit(
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
        processes_per_client: Processes | None = None,
        requirements: Mapping[str, int] | None = None,
        min_gpu_memory: int | None = None,
        min_cpu_cores: int | None = None,
        min_ram: int | None = None,
        config: Mapping[str, JSON] | None = None,
        priority: int | None = None,
        share_gpu: bool | None = None,
        max_retries: int | None = None,
        project: str | None = None,
        title: str | None = None,
        tags: Iterable[str] = (),
        notes: str | None = None,
        env: Mapping[str, str] | None = None,
        best: Mapping[str, Literal["min", "max"]] | None = None,
        from_checkpoint: str | None = None,
        environment: str | None = None,
        args: Sequence[str | int | float] = (),
        resume_args: Sequence[str | int | float] = (),
        outputs: Iterable[str] = (),
        mounts: Mapping[str, str | os.PathLike[str]] | None = None,
        progress_from: str | None = None,
        data: Mapping[str, AnyData] | None = None,
    ) -> AsyncTask:
        """A new task that trains `package`, or the one called `name` (its latest `version`).

        `requirements` are what each rank needs of its client, in MiB and cores (min_gpu_memory,
        min_cpu_cores, min_ram; also as arguments of their own). `n_clients` above 1 trains
        `distributed`, as do `processes_per_client`: a number, or "gpu" for a rank on each GPU.
        `config` holds your own hyperparameters, `env` variables for the training process, whose
        values only you and administrators see. `max_retries` counts failures of your code; a lost
        client costs none. `best` says which end of a metric is the good one. `from_checkpoint` is
        the id of a checkpoint to begin with, or of a task, for its latest ("ID:best": its best);
        that task becomes the `parent`. `environment` is a Python that clients advertise by name.

        For a script: `args` are its command line, `resume_args` are added to it from the second
        attempt on; `outputs` are globs of the files to keep, with checkpoints and at every end;
        `mounts` shows paths of the client under the working folder ({"data": "/srv/data"});
        `progress_from` is a regular expression over the log's lines, whose groups `step`, `total`
        and others, named like metrics, are numbers.

        `data` is what the training finds by these names in `run.data_dir`, and what each client
        fetches once: what `put` gave, or a URL of any scheme that clients can read, with
        "#sha256=..." at its end to have it checked.

        Raises NotFound for an unknown package or checkpoint, InvalidRequest for a value the farm
        does not take.
        """
        body = await self._body(
            name,
            {
                "package": package,
                "version": version,
                "url": url,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "epochs": epochs,
                "distributed": distributed,
                "n_clients": n_clients,
                "processes_per_client": processes_per_client,
                "requirements": requirements,
                "min_gpu_memory": min_gpu_memory,
                "min_cpu_cores": min_cpu_cores,
                "min_ram": min_ram,
                "config": config,
                "priority": priority,
                "share_gpu": share_gpu,
                "max_retries": max_retries,
                "project": project,
                "title": title,
                "tags": tags,
                "notes": notes,
                "env": env,
                "best": best,
                "from_checkpoint": from_checkpoint,
                "environment": environment,
                "args": args,
                "resume_args": resume_args,
                "outputs": outputs,
                "mounts": mounts,
                "progress_from": progress_from,
                "data": data,
            },
        )
        made = await self._http.send(calls.create_task(body, str(uuid4())))
        return AsyncTask(self._http, made)

    async def check(
        self,
        name: str | None = None,
        *,
        unpublished: bool = False,
        **options: Unpack[Submission],
    ) -> rest.Check:
        """What would become of `submit` with the same arguments; nothing is submitted.

        Says which clients it could start on now, which once they are free, and what each of the
        others lacks. `unpublished`: the package is still to be published, and what it declares is
        not looked at. Raises what `submit` raises.
        """
        if unpublished:
            options = {**options, "version": options.get("version") or "unpublished"}
        body = await self._body(name, options)
        return await self._http.send(calls.check_task(body, unpublished))

    async def task(self, id_or_prefix: str, *, deleted: bool = False) -> AsyncTask:
        """The task with this id, or the only one whose id begins so; of the trash where `deleted`.

        Raises NotFound where there is none, InvalidRequest where there are several.
        """
        if not id_or_prefix:
            raise InvalidRequest("Say which task: its id, or the first characters of it.")
        wanted = valid(query.TaskQuery, prefix=id_or_prefix, deleted=deleted, limit=10)
        found = (await self._http.send(calls.list_tasks(wanted))).tasks
        ids = {info.id: info.title or info.name for info in found}
        only = chosen(ids, id_or_prefix, "task")
        return AsyncTask(self._http, next(info for info in found if info.id == only))

    async def tasks(
        self,
        *,
        status: str | Iterable[str] = (),
        project: str | None = None,
        tags: str | Iterable[str] = (),
        submitter: str | None = None,
        name: str | Iterable[str] = (),
        search: str | None = None,
        where: str | Iterable[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        parent: str | None = None,
        sort: str | None = None,
        summaries: str | Iterable[str] = (),
        limit: int | None = 100,
    ) -> TaskList[AsyncTask]:
        """The first `limit` tasks (None: all) that meet everything asked, the newest first.

        `status` and `name` (of the package) take one of several; all `tags` and all of `where`
        must hold: "config.learning_rate<0.01", "metrics.loss.min<=0.5", "config.net=resnet".
        `search` looks into title, name and notes. `since` and `until` bound the creation.
        `sort`: created_at, updated_at, title, status, config.NAME or metrics.NAME.STAT (last, min,
        max, best, step), with a minus before it the other way round. `summaries` names metrics
        whose summaries are to come along. Raises InvalidRequest.
        """
        matching: Matching = {
            "status": status,
            "project": project,
            "tags": tags,
            "submitter": submitter,
            "name": name,
            "search": search,
            "where": where,
            "since": since,
            "until": until,
            "parent": parent,
        }
        return await self._walk(limit, sort=sort, summaries=several(summaries), **asked(matching))

    async def trash(self, limit: int | None = 100) -> TaskList[AsyncTask]:
        """The newest `limit` tasks that were deleted in the last 7 days; see `Task.restore`."""
        return await self._walk(limit, deleted=True)

    async def bulk(
        self,
        action: requests.BulkAction,
        tasks: Iterable[AsyncTask | str] = (),
        *,
        matching: Matching | None = None,
        tags: Iterable[str] = (),
        reason: str | None = None,
    ) -> list[rest.BulkResult]:
        """One action for many tasks (or ids): what became of each, in their order. Or for all
        that are `matching` the arguments of `tasks`: {"project": "digits", "status": "pending"}.

        `tags` are those to "tag" or "untag"; `reason` goes with pause, resume and stop. One that
        fails has an `error` and does not keep the others from it. Raises InvalidRequest, with
        nothing done, where more than 1,000 match.
        """
        more = {"action": action, "tags": list(tags), "reason": reason}
        if matching is not None:
            body = valid(requests.BulkTasks, filter=task_filter(matching), **more)
            return (await self._http.send(calls.bulk(body))).results
        ids = [task if isinstance(task, str) else task.id for task in tasks]
        results: list[rest.BulkResult] = []
        for start in range(0, len(ids), BULK):
            body = valid(requests.BulkTasks, ids=ids[start : start + BULK], **more)
            results += (await self._http.send(calls.bulk(body))).results
        return results

    def watch(self, *tasks: AsyncTask) -> AsyncGenerator[AsyncTask, None]:
        """Each of `tasks` as it is now, then whenever it changes, until all are over.

        What came last stands in the task's `info`.
        """
        return watch(self._http, tasks)

    def live(
        self, *topics: str, timeout: float | None = None
    ) -> AsyncGenerator[live.Message, None]:
        """What happens from now on, without end: a snapshot, then changes, in `aifarm.wire.live`.

        `topics`: "task:ID", "client:ID", or "farm" for everything but logs and metric points,
        which is the default. All listeners of a farm share one connection. Raises WaitTimeout
        after `timeout` seconds.
        """
        return self._http.live.listen(topics or ("farm",), timeout=timeout)

    async def events(self, after: int = 0) -> list[rest.EventFull]:
        """What happened on the farm behind event number `after`, oldest first."""
        return await all_events(self._http, after=after)

    # ------------------------------------------------------------ clients and tokens

    async def clients(self) -> list[AsyncClient]:
        """Every workstation that ever joined, with what it has (memory in MiB) and does."""
        parts = await self._whole(calls.clients)
        return [AsyncClient(self._http, info) for part in parts for info in part.clients]

    async def client(self, id_or_prefix: str) -> AsyncClient:
        """The client with this id, or the only one whose id begins so. Raises NotFound,
        InvalidRequest."""
        found = {client.id: client for client in await self.clients()}
        names = {client_id: client.status for client_id, client in found.items()}
        return found[chosen(names, id_or_prefix, "client")]

    async def tokens(self) -> list[rest.TokenFull]:
        """Every token, without its secret. For administrators."""
        return [token for part in await self._whole(calls.tokens) for token in part.tokens]

    async def my_token(self) -> rest.TokenFull:
        """The token that this farm is spoken to with, without its secret: name, role, expiry."""
        return await self._http.send(calls.my_token())

    async def create_token(
        self,
        name: str,
        role: Role = "researcher",
        *,
        client_id: str | None = None,
        label: str | None = None,
        expires: float | None = None,
    ) -> rest.TokenFull:
        """A new token; its secret, `.token`, is shown only here. For administrators.

        `expires` in seconds from now. An agent's token may be bound to one `client_id`, or to
        agents that are started with one `label`, written NAME=VALUE.
        """
        body = valid(
            requests.CreateToken,
            name=name,
            role=role,
            client_id=client_id,
            label=label,
            expires=expires,
        )
        return await self._http.send(calls.create_token(body))

    async def revoke_token(self, token_id: str) -> None:
        """Ends a token at once, and every connection that uses it. For administrators."""
        await self._http.send(calls.revoke_token(token_id))

    # ------------------------------------------------------------ helpers

    async def _body(self, name: str | None, options: Submission) -> requests.CreateTask:
        package = options.get("package")
        if package is not None:
            name, options = package.name, {**options, "version": package.version}
        if not name:
            raise InvalidRequest("Say what to train: submit(name=...) or submit(package=...).")
        if not (options.get("version") or options.get("url")):
            options = {**options, "version": await self._latest(name)}
        return task_body(name, options)

    async def _latest(self, name: str) -> str:
        found = await self.packages(name)
        if not found:
            raise NotFound(
                f"There is no package {name}: publish its folder first, with farm.publish or "
                "`aifarm publish`."
            )
        return max(found, key=lambda package: package.created_at).version

    async def _whole(self, step: Callable[[str], Call[P]]) -> list[P]:
        """All parts of a list, walked by cursor."""
        parts: list[P] = []
        cursor: str | None = ""
        while cursor is not None:
            parts.append(await self._http.send(step(cursor)))
            cursor = parts[-1].next_cursor
        return parts

    async def _walk(self, limit: int | None, **wanted: object) -> TaskList[AsyncTask]:
        """Page by page, by cursor: what is submitted meanwhile shifts nothing."""
        found = TaskList[AsyncTask]()
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(found) < limit):
            size = query.MAX_LIMIT if limit is None else min(limit - len(found), query.MAX_LIMIT)
            page = valid(query.TaskQuery, cursor=cursor, limit=size, **wanted)
            answer = await self._http.send(calls.list_tasks(page))
            found += (AsyncTask(self._http, info) for info in answer.tasks)
            cursor = answer.next_cursor
        return found
