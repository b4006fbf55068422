"""Trains a tiny language model with the Trainer; it goes on from what its output folder holds."""

import os
from dataclasses import dataclass, field

import torch
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint


@dataclass
class ModelArguments:
    width: int = field(default=32, metadata={"help": "of the network"})
    samples: int = field(default=512, metadata={"help": "sequences to train on"})


class Counting(torch.utils.data.Dataset):
    """Sequences that count up, from anywhere."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        ids = (torch.arange(16) + index) % 64
        return {"input_ids": ids, "labels": ids}


def main():
    parser = HfArgumentParser((ModelArguments, TrainingArguments))
    model_args, training_args = parser.parse_args_into_dataclasses()
    last = None
    if os.path.isdir(training_args.output_dir):
        last = get_last_checkpoint(training_args.output_dir)
        if last:
            print(f"Checkpoint detected, resuming training at {last}.")
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=model_args.width, n_layer=1, n_head=2)
    trainer = Trainer(
        model=GPT2LMHeadModel(config),
        args=training_args,
        train_dataset=Counting(model_args.samples),
    )
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(os.path.join(training_args.output_dir, "final"))


if __name__ == "__main__":
    main()
