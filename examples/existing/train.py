"""Handwritten digits with plain PyTorch: a program as one finds it, without a line of AI Farm.

python train.py --epochs 10 --lr 0.003 [--resume out/last.pt]
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--lr", type=float, default=0.001)
parser.add_argument("--out", type=Path, default=Path("out"))
parser.add_argument("--resume", type=Path, help="a file of --out to go on from, where it exists")
options = parser.parse_args()

torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)

first = 1
if options.resume and options.resume.exists():
    state = torch.load(options.resume, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["epoch"] + 1
    print(f"going on after epoch {state['epoch']}")

options.out.mkdir(parents=True, exist_ok=True)
for epoch in range(first, options.epochs + 1):
    for batch in torch.randperm(1400).split(32):
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(images[1400:]).argmax(1) == labels[1400:]).float().mean()
    print(f"epoch {epoch}/{options.epochs} loss {loss:.4f} accuracy {accuracy:.4f}")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state, options.out / "last.pt")
