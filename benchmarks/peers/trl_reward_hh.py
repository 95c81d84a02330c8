"""TRL 1.16's RewardTrainer with LoRA on given token ids: the peer of benchmarks/reward_hh.py, which calls it.

    python -m venv .peers && .peers/bin/pip install torch==2.13.0 trl==1.16.0 peft==0.21.0
    .peers/bin/python benchmarks/peers/trl_reward_hh.py --model FOLDER --train TRAIN.jsonl --score SCORE.jsonl

Lines are {"chosen_ids": [...], "rejected_ids": [...]}. Prints one JSON line: the margin (chosen less rejected) of each
pair to score, the seconds of training and of scoring, and versions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import peft
import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--score", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32.0)
    parser.add_argument("--upper-layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def lines(path: Path) -> list[dict[str, list[int]]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def trainer(args: argparse.Namespace) -> RewardTrainer:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32)
    depth = model.config.num_hidden_layers
    adapters = LoraConfig(
        task_type="SEQ_CLS",
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=0.0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        layers_to_transform=list(range(depth - args.upper_layers, depth)),
        layers_pattern="layers",
    )
    config = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=args.batch // args.accumulate,
        gradient_accumulation_steps=args.accumulate,  # less padding than in one piece
        num_train_epochs=args.epochs,
        learning_rate=args.rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_epsilon=1e-5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=None,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        seed=args.seed,
    )
    data = Dataset.from_list(lines(args.train))
    return RewardTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=adapters)


@torch.no_grad()
def scores(model: torch.nn.Module, texts: list[list[int]], pad: int, batch: int = 16) -> list[float]:
    """Scores in the order given; batches hold texts of like length."""
    model.eval()
    found = [0.0] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        longest = max(len(texts[i]) for i in some)
        ids = torch.tensor([texts[i] + [pad] * (longest - len(texts[i])) for i in some])
        seen = torch.tensor([[1] * len(texts[i]) + [0] * (longest - len(texts[i])) for i in some])
        for i, score in zip(some, model(input_ids=ids, attention_mask=seen).logits.squeeze(-1).tolist(), strict=True):
            found[i] = score
    return found


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    fitting = trainer(args)
    start = time.perf_counter()
    fitting.train()
    trained = time.perf_counter()
    pairs = lines(args.score)
    texts = [pair["chosen_ids"] for pair in pairs] + [pair["rejected_ids"] for pair in pairs]
    flat = scores(fitting.model, texts, fitting.model.config.pad_token_id)
    margins = [better - worse for better, worse in zip(flat[: len(pairs)], flat[len(pairs) :], strict=True)]
    result = {
        "margins": margins,
        "train_seconds": trained - start,
        "score_seconds": time.perf_counter() - trained,
        "versions": {m.__name__: m.__version__ for m in (trl, peft, transformers, torch)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
