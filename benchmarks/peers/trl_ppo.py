"""TRL 1.12's PPO, the last that TRL shipped: seconds an update of fixed work, and peak memory.

    python -m venv .peers-112 && .peers-112/bin/pip install torch==2.13.0 trl==1.12.0 pandas rich
    .peers-112/bin/python benchmarks/peers/trl_ppo.py --model FOLDER --episodes 8

Policy, reference, reward model and value net are four models in float32; prompts are random ids of one length, and no
answer stops early. Its defaults of bfloat16 and gradient checkpointing are off. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--prompt-len", type=int, default=32)
    parser.add_argument("--response-len", type=int, default=48)
    return parser.parse_args()


def model(kind: Any, folder: str, **options: Any) -> Any:
    loaded = kind.from_pretrained(folder, dtype=torch.float32, **options)
    loaded.config.pad_token_id = 0
    return loaded


def trainer(args: argparse.Namespace) -> PPOTrainer:
    total = args.episodes * args.steps
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    tokenizer.pad_token_id = 0
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(5, 40_000, (total, args.prompt_len), generator=generator).tolist()
    dataset = Dataset.from_dict({"input_ids": prompts})
    config = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=args.episodes,
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=1,
        total_episodes=total,
        response_length=args.response_len,
        local_rollout_forward_batch_size=args.episodes,
        num_sample_generations=0,
        stop_token=None,
        temperature=1.0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
    )
    causal, scalar = AutoModelForCausalLM, AutoModelForSequenceClassification
    return PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=model(causal, args.model),
        ref_model=model(causal, args.model),
        reward_model=model(scalar, args.model, num_labels=1),
        value_model=model(scalar, args.model, num_labels=1),
        train_dataset=dataset,
        eval_dataset=dataset,
    )


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    made = trainer(args)
    start, busy = time.perf_counter(), time.process_time()
    made.train()
    seconds = time.perf_counter() - start
    found = {
        "peer": "TRL 1.12 PPO",
        "episodes_per_s": args.episodes * args.steps / seconds,
        "seconds": seconds,
        "cpu_s": time.process_time() - busy,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
