"""TRL 1.16's RewardTrainer on rankings of K answers, which it takes as C(K, 2) pairs: rankings a second, peak memory.

    python -m venv .peers-116 && .peers-116/bin/pip install torch==2.13.0 trl==1.16.0
    .peers-116/bin/python benchmarks/peers/trl_reward.py --model FOLDER --rankings 2 --k 9

Its defaults of bfloat16 and gradient checkpointing are off. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from itertools import combinations

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

WORDS = ("moon", "rocket", "people", "walked", "sky", "night", "small", "step", "landing", "child", "story", "bright")


def words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count))


def pairs(args: argparse.Namespace) -> Dataset:
    draw, rows = random.Random(0), []
    for _ in range(args.rankings):
        prompt = words(draw, args.prompt_words)
        ranked = [" " + words(draw, args.response_words) for _ in range(args.k)]
        rows += [{"prompt": prompt, "chosen": a, "rejected": b} for a, b in combinations(ranked, 2)]
    return Dataset.from_list(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rankings", type=int, default=4)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--prompt-words", type=int, default=30)
    parser.add_argument("--response-words", type=int, default=40)
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    config = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=8,
        num_train_epochs=1,
        learning_rate=9e-6,
        max_length=512,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
    )
    made = RewardTrainer(model=model, args=config, train_dataset=pairs(args), processing_class=tokenizer)
    start, busy = time.perf_counter(), time.process_time()
    made.train()
    seconds = time.perf_counter() - start
    found = {
        "peer": "TRL 1.16 RewardTrainer",
        "rankings_per_s": args.rankings / seconds,
        "seconds": seconds,
        "cpu_s": time.process_time() - busy,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
