"""TRL 1.16's SFTTrainer with packing: trained tokens a second, and peak memory.

    python -m venv .peers-116 && .peers-116/bin/pip install torch==2.13.0 trl==1.16.0
    .peers-116/bin/python benchmarks/peers/trl_sft.py --model FOLDER --data tasks.jsonl.gz

The data is in the form of self-instruct's user_oriented_instructions.jsonl.gz (`benchmarks/speed_data.py` writes some).
Its defaults of bfloat16 and gradient checkpointing are off. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def conversations(path: Path) -> Dataset:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    rows = []
    for task in tasks:
        case = task["instances"][0]
        question = f"{task['instruction']}\n{case['input']}".strip()
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": case["output"]}]
        rows.append({"messages": turns})
    return Dataset.from_list(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        max_length=args.length,
        packing=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
    )
    data = conversations(args.data)
    made = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    start, busy = time.perf_counter(), time.process_time()
    made.train()
    seconds = time.perf_counter() - start
    found = {
        "peer": "TRL 1.16 SFTTrainer, packed",
        "tokens_per_s": args.steps * args.batch * args.length / seconds,
        "seconds": seconds,
        "cpu_s": time.process_time() - busy,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
