"""A scripted server for the agent's tests: applies the rules of `seq` and writes down what came."""

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from aifarm.packages import pack_source
from aifarm.wire import agent as wire
from aifarm.wire.codec import decode_client, encode
from aifarm.wire.types import Requirements

TOKEN = "a-token-that-nobody-may-see"
PATIENCE = 60
PART = 1 << 16


@dataclass
class Rank:
    """What the server has recorded of a rank. `kinds`: all messages, in order."""

    assignment: wire.TaskAssignment
    current: bool = True
    desired: str = "running"
    seq: int = 0
    kinds: list = field(default_factory=list)
    states: list = field(default_factory=list)
    provenance: dict = field(default_factory=dict)
    steps: list = field(default_factory=list)
    metrics: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    checkpoints: list = field(default_factory=list)
    endpoint: wire.Endpoint | None = None
    results: list = field(default_factory=list)

    def apply(self, message):
        assert not self.results, "nothing follows a result"
        self.kinds.append(type(message).__name__)
        match message:
            case wire.TaskState():
                self.states.append(message.state)
                self.provenance |= message.provenance
            case wire.TaskProgress():
                self.steps += [step for step, _, _ in message.points]
                self.metrics |= message.metrics
            case wire.TaskLog():
                self.lines += message.lines
            case wire.TaskCheckpoint():
                self.checkpoints.append(message)
            case wire.GangEndpoint():
                self.endpoint = wire.Endpoint(message.address, message.port)
            case wire.TaskResult():
                self.results.append(message)

    @property
    def result(self):
        """(status, cause), once there is one."""
        return (self.results[0].status, self.results[0].cause) if self.results else None


class ScriptedServer:
    """On a port of its own; may be stopped and started again at the same port."""

    def __init__(self):
        self.ranks = {}
        self.packages = {}
        self.uploads = {}
        self.hellos = []
        self.sockets = set()
        self.changed = asyncio.Condition()
        free, self.port = bind_unused_port()
        free.close()
        self.start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def start(self):
        routes = [(path, handler, {"server": self}) for path, handler in ROUTES]
        self.http = HTTPServer(Application(routes))
        self.http.add_sockets(bind_sockets(self.port, "127.0.0.1"))

    async def stop(self):
        """Those who are connected are cut off, others are refused."""
        self.http.stop()
        for socket in list(self.sockets):
            socket.ws_connection.stream.close()
        await self.http.close_all_connections()

    # ---------------------------------------------------------------- what the test wants

    def publish(self, name, source):
        archive = pack_source(source, name, "1.0")
        self.packages[name] = archive
        return wire.PackageRef(name, "1.0", hashlib.sha256(archive).hexdigest(), len(archive))

    def assign(self, task_id, package, world_size=1, attempt=1, resume=None, gpus=(), **config):
        """Gives every rank of the attempt to whoever is, or will be, connected."""
        usual = {"name": package.name, "batch_size": 1, "learning_rate": 0.01, "epochs": 1}
        for rank in range(world_size):
            farm = wire.FarmAssignment(
                attempt=attempt,
                rank=rank,
                world_size=world_size,
                package=package,
                resume=resume,
                gpus=gpus,
            )
            task = wire.AssignedTask(
                id=task_id,
                type="training",
                config=usual | config,
                requirements=Requirements(),
                farm=farm,
            )
            known = self.ranks[task_id, attempt, rank] = Rank(wire.TaskAssignment(data=task))
            self.send(known.assignment)
        return self.ranks[task_id, attempt, 0]

    def control(self, task_id, action):
        for key, rank in self.ranks.items():
            if key[0] == task_id:
                rank.desired = {"pause": "paused", "resume": "running", "stop": "stopped"}[action]
        self.send(wire.Control(action=action, task_id=task_id))

    def withdraw(self, task_id, attempt=1, rank=0):
        self.ranks[task_id, attempt, rank].current = False
        self.send(wire.Withdraw(task_id=task_id, attempt=attempt, rank=rank))

    def send(self, message):
        for socket in self.sockets:
            socket.write_message(encode(message))

    async def until(self, condition):
        """Waits for what a message is to bring about."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), PATIENCE)

    async def ended(self, rank):
        await self.until(lambda: rank.results)
        return rank.result

    async def connected(self):
        seen = len(self.hellos)
        await self.until(lambda: self.sockets or len(self.hellos) > seen)

    # ---------------------------------------------------------------- what the agent says

    async def receive(self, socket, message):
        if isinstance(message, wire.Hello):
            self.hellos.append(message)
            answers = self.welcome(message)
        elif isinstance(message, wire.Heartbeat | wire.Lending):
            answers = []
        else:
            answers = [self.record(message)]
        async with self.changed:
            self.changed.notify_all()
        for answer in answers:
            await socket.write_message(encode(answer))

    def record(self, message):
        key = (message.task_id, message.attempt, message.rank)
        rank = self.ranks.get(key)
        if rank is None:  # of an earlier test: acknowledged, so that it ends
            return wire.Ack(task_id=key[0], attempt=key[1], rank=key[2], seq=message.seq)
        seq_to = getattr(message, "seq_to", None) or message.seq
        if seq_to > rank.seq and message.seq <= rank.seq + 1:
            rank.seq = seq_to
            rank.apply(message)
            if rank.endpoint and isinstance(message, wire.GangEndpoint):
                for other in self.ranks:
                    if other[:2] == key[:2]:
                        self.send(
                            wire.GangStart(
                                task_id=key[0],
                                attempt=key[1],
                                rank=other[2],
                                endpoint=rank.endpoint,
                            )
                        )
        return wire.Ack(task_id=key[0], attempt=key[1], rank=key[2], seq=rank.seq)

    def welcome(self, hello):
        named = {(held.task_id, held.attempt, held.rank) for held in hello.tasks}
        verdicts = []
        for key in named:
            rank = self.ranks.get(key)
            goes_on = rank is not None and rank.current
            verdicts.append(
                wire.Verdict(
                    *key,
                    verdict="continue" if goes_on else "stop",
                    ack_seq=rank.seq if rank else 0,
                    desired=rank.desired if rank else "stopped",
                )
            )
        missing = [r for key, r in self.ranks.items() if key not in named and not r.results]
        assert not any(rank.states for rank in missing), "a rank that ran is never forgotten"
        assignments = [rank.assignment for rank in missing if rank.current]
        return [wire.Welcome(lease=60, heartbeat=10, tasks=tuple(verdicts)), *assignments]


class _Socket(WebSocketHandler):
    def initialize(self, server):
        self.server = server

    def prepare(self):
        if self.request.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.set_status(401)
            answer = {"error": {"code": "UNAUTHORIZED", "message": "The token is not known."}}
            self.finish(answer)

    async def open(self):
        self.server.sockets.add(self)

    async def on_message(self, frame):
        message = decode_client(frame)
        with contextlib.suppress(WebSocketClosedError):
            await self.server.receive(self, message)

    def on_close(self):
        self.server.sockets.discard(self)


class _Package(RequestHandler):
    def initialize(self, server):
        self.server = server

    def get(self, name):
        archive = self.server.packages.get(name)
        if archive is None:
            self.set_status(404)
            self.finish({"error": {"code": "NOT_FOUND", "message": f"There is no {name}."}})
        else:
            self.finish(archive)


class _Uploads(RequestHandler):
    def initialize(self, server):
        self.server = server

    def post(self):
        body = json.loads(self.request.body)
        upload_id = f"{body['task_id']}-{body['sha256'][:16]}"
        parts = self.server.uploads.setdefault(upload_id, {})
        self.finish({"id": upload_id, "part_size": PART, "parts": sorted(parts)})


class _Part(RequestHandler):
    def initialize(self, server):
        self.server = server

    def put(self, upload_id, number):
        self.server.uploads[upload_id][int(number)] = self.request.body
        self.set_status(204)


ROUTES = [
    ("/", _Socket),
    ("/models/([^/]+)/1.0", _Package),
    ("/api/v2/uploads", _Uploads),
    ("/api/v2/uploads/([^/]+)/parts/([0-9]+)", _Part),
]
