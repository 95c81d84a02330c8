"""transformers' generate: sampled tokens a second, every row of the same length or of mixed ones.

    python -m venv .peers-116 && .peers-116/bin/pip install torch==2.13.0 trl==1.16.0
    .peers-116/bin/python benchmarks/peers/transformers_generate.py --model FOLDER --batch 32 --tokens 48

With --mixed, row i of B is wanted to 1 + i * tokens / B tokens, as if it had met its EOS there: a batch takes as long
as its longest row, and only wanted tokens count. The first run is not timed. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompt-len", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--mixed", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    prompts = torch.randint(5, 40_000, (args.batch, args.prompt_len))
    seconds, cpu = [], []
    for _ in range(args.repeats + 1):
        start, busy = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            model.generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                min_new_tokens=args.tokens,
                max_new_tokens=args.tokens,
                pad_token_id=0,
            )
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    lengths = [1 + i * args.tokens // args.batch if args.mixed else args.tokens for i in range(args.batch)]
    found = {
        "peer": "transformers generate",
        "tokens_per_s": sum(lengths) / statistics.median(seconds[1:]),
        "seconds": statistics.median(seconds[1:]),
        "cpu_s": statistics.median(cpu[1:]),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
