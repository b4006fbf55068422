"""Trains a network on the characters of a text. To resume: --init_from=resume"""

import os
import time

import torch
from model import Characters

out_dir = "out"
eval_interval = 50
log_interval = 1
init_from = "scratch"  # or "resume"
batch_size = 32
block_size = 32
n_embd = 64
learning_rate = 1e-2
max_iters = 200
seed = 1337

exec(open("configurator.py").read())  # noqa: SIM115

text = "to be or not to be, that is the question, " * 100
letters = sorted(set(text))
data = torch.tensor([letters.index(letter) for letter in text])
os.makedirs(out_dir, exist_ok=True)
torch.manual_seed(seed)
model_args = {"vocab_size": len(letters), "block_size": block_size, "n_embd": n_embd}
iter_num = 0
if init_from == "resume":
    checkpoint = torch.load(os.path.join(out_dir, "ckpt.pt"))
    print(f"Resuming training from {out_dir}")
    model_args = checkpoint["model_args"]
    iter_num = checkpoint["iter_num"]
model = Characters(**model_args)
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
if init_from == "resume":
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])


def get_batch():
    starts = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([data[i : i + block_size] for i in starts])
    y = torch.stack([data[i + 1 : i + 1 + block_size] for i in starts])
    return x, y


t0 = time.time()
while True:
    if iter_num % eval_interval == 0 and iter_num > 0:
        checkpoint = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "model_args": model_args,
            "iter_num": iter_num,
        }
        torch.save(checkpoint, os.path.join(out_dir, "ckpt.new"))
        os.replace(os.path.join(out_dir, "ckpt.new"), os.path.join(out_dir, "ckpt.pt"))
    if iter_num >= max_iters:
        break
    x, y = get_batch()
    loss = model(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    iter_num += 1
    dt, t0 = time.time() - t0, time.time()
    if iter_num % log_interval == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}, time {dt * 1000:.2f}ms")
