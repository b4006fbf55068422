# a network for a laptop
n_embd = 32
block_size = 16
batch_size = 16
eval_interval = 10
