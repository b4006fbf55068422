"""Answers of version 2 of the REST API, and errors. An unknown number is null."""

from aifarm.wire.rest.clients import *
from aifarm.wire.rest.farm import *
from aifarm.wire.rest.history import *
from aifarm.wire.rest.stored import *
from aifarm.wire.rest.tasks import *
