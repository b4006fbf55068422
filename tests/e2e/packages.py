"""Model code for the tests: small networks, good and bad."""

SLOW = '''
import time
import torch
from torch import nn
from torch.utils.data import Dataset

defaults = {"seconds": 0.01}


class Drops(Dataset):
    """Each sample takes as long as the config says."""

    def __init__(self, cfg):
        self.seconds = cfg["seconds"]

    def __len__(self):
        return 20

    def __getitem__(self, index):
        time.sleep(self.seconds)
        x = torch.tensor([float(index), 1.0])
        return x, x.sum().unsqueeze(0)


def build_model(cfg):
    return nn.Linear(2, 1)


def build_data(cfg):
    return Drops(cfg)
'''

COUNTING = """
import os, pathlib, signal, sys, time

out = pathlib.Path("out")
out.mkdir(exist_ok=True)
count = out / "count"
begun = int(count.read_text()) if count.exists() else 0
count.write_text(str(begun + 1))
(out / f"attempt-{begun + 1}").write_text("began")
pathlib.Path("undeclared").write_text("left")
print("began with", begun, flush=True)
while begun == 0 and "wait" in sys.argv:
    time.sleep(0.1)
if begun == 0:
    os.kill(os.getpid(), signal.SIGKILL)
"""

NO_IMPORT = "import a_library_that_is_not_there\n"

NO_FORWARD = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Linear(7, 2)


def build_data(cfg):
    return TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))
"""

NOTHING_BUILT = "x = 1\n"

ONE_RANK_FAILS = """
import os
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Linear(2, 1)


def build_data(cfg):
    return TensorDataset(torch.zeros(600, 2), torch.zeros(600, 1))


def metrics(out, batch):
    return {"inverse": 1 / (int(os.environ["RANK"]) - 1)}
"""

STORED = """
import os
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Linear(2, 1)


def build_data(cfg):
    folder = Path(cfg["data_dir"])
    assert os.environ["AIFARM_DATA_DIR"] == str(folder)
    assert (folder / "notes" / "about.txt").read_text() == "made up"
    x = torch.from_numpy(numpy.load(folder / "train"))
    return TensorDataset(x, x.sum(1, keepdim=True))
"""
