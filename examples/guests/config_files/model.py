"""A small network over characters."""

from torch import nn
from torch.nn import functional


class Characters(nn.Module):
    def __init__(self, vocab_size, block_size, n_embd):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, n_embd)
        self.mix = nn.GRU(n_embd, n_embd, batch_first=True)
        self.head = nn.Linear(n_embd, vocab_size)

    def forward(self, x, targets):
        hidden, _ = self.mix(self.tokens(x))
        logits = self.head(hidden)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
