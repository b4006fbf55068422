"""Handwritten digits, with a loop of one's own: `python train.py`, or as a task of the farm."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aifarm.train as at

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
options = parser.parse_args()

digits = load_digits()
images, labels = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=32, shuffle=True)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)

run = at.current()
run.track(model=model, optimizer=optimizer, best={"metric": "accuracy", "mode": "max"})
for _ in run.epochs(options.epochs):
    for inputs, targets in run.batches(loader):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.report(loss=loss)
    with torch.no_grad():
        right = model(images[1400:]).argmax(1) == labels[1400:]
    run.report(accuracy=right.float().mean())
    print("accuracy", run.metrics["accuracy"])
