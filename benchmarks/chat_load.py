"""The chat API under load: 32 streaming clients at once, against offline batch sampling of the same model.

    python benchmarks/chat_load.py --model FOLDER        # about a minute; docs/results/chat_load.json

The server is a process of its own, the clients another, both on this machine, without filter. Offline, the same prompts
are sampled at the same length by the library's sampler, with as many rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import torch
import tyro

from backflip.lm.heads import Causal
from backflip.lm.sampler import LocalSampler, SamplerConfig
from backflip.lm.tokens import Tokens
from backflip.records import Message
from backflip.runs import atomic_write_json
from backflip.runs.version import code_version

QUESTIONS: Final = ("Why is the sky blue?", "How do I bake bread?", "Tell me a story about a fox.", "What is a prime?")


@dataclass(frozen=True)
class Config:
    """What is measured."""

    model: Path
    """The model's folder."""
    clients: int = 32
    """Streams at once."""
    rounds: int = 2
    """Answers that each client asks for, one after the other."""
    tokens: int = 64
    """Tokens of an answer, at most."""
    out: Path = Path("docs/results/chat_load.json")
    """The result."""


@dataclass
class Stream:
    """What one client got; `gaps` are the seconds to the first piece and between pieces."""

    tokens: int = 0
    gaps: tuple[float, ...] = ()
    error: str = ""


def main(config: Config) -> dict[str, Any]:
    """Measures both, and writes the result."""
    wanted = [f"{QUESTIONS[i % len(QUESTIONS)]} ({i})" for i in range(config.clients * config.rounds)]
    streams, seconds = serve_and_ask(config, wanted)
    counts = [stream.tokens for stream in streams]
    online, offline = sum(counts) / seconds, sample(config, wanted)
    gaps = sorted(gap for stream in streams for gap in stream.gaps)
    result = {
        "model": config.model.name,
        "clients": config.clients,
        "answers": len(streams),
        "errors": sum(bool(stream.error) for stream in streams),
        "tokens": sum(counts),
        "tokens_per_second": round(online, 1),
        "offline_tokens_per_second": round(offline, 1),
        "share_of_offline": round(online / offline, 3),
        "first_piece_seconds": {
            "median": round(statistics.median(stream.gaps[0] for stream in streams if stream.gaps), 3),
            "longest": round(max(stream.gaps[0] for stream in streams if stream.gaps), 3),
        },
        "between_pieces_seconds": {
            "median": round(statistics.median(gaps), 3),
            "longest": round(max(max(stream.gaps[1:], default=0.0) for stream in streams), 3),
        },
        "fewest_tokens": min(counts),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "code": code_version(),
    }
    atomic_write_json(config.out, result)
    return result


def serve_and_ask(config: Config, wanted: list[str]) -> tuple[list[Stream], float]:
    """All clients' streams, and the seconds from the first request to the last token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "backflip", "serve", "--models", f"m={config.model}", "--port", str(port)]
    limits = ["--limits.at-once-each", str(config.clients), "--limits.per-minute", "100000"]
    rows = ["--engine.rows", str(config.clients), "--engine.context", "256", "--filters"]
    server = subprocess.Popen([*command, *limits, *rows], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        print(server.stdout.readline().strip(), flush=True)
        return asyncio.run(_all(config, f"http://127.0.0.1:{port}/v1/chat/completions", wanted))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


async def _all(config: Config, url: str, wanted: list[str]) -> tuple[list[Stream], float]:
    limits = httpx.Limits(max_connections=config.clients + 1)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        await _stream(client, url, "Hello", 4, 0)  # the cache is allocated at the first request
        start = time.perf_counter()

        async def one(first: int) -> list[Stream]:
            places = range(first, len(wanted), config.clients)
            return [await _stream(client, url, wanted[place], config.tokens, place) for place in places]

        streams = [stream for some in await asyncio.gather(*map(one, range(config.clients))) for stream in some]
        return streams, time.perf_counter() - start


async def _stream(client: httpx.AsyncClient, url: str, text: str, tokens: int, seed: int) -> Stream:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 1.0, "seed": seed}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    result, gaps, last = Stream(), [], time.perf_counter()
    try:
        async with client.stream("POST", url, json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise ValueError(event["error"]["message"])
                if event["choices"] and event["choices"][0]["delta"].get("content"):
                    now = time.perf_counter()
                    gaps.append(now - last)
                    last = now
                result.tokens = (event.get("usage") or {}).get("completion_tokens", result.tokens)
    except (httpx.HTTPError, ValueError) as error:
        result.error = str(error) or type(error).__name__
    result.gaps = tuple(gaps)
    return result


def sample(config: Config, wanted: list[str]) -> float:
    """Tokens a second of offline sampling of the same prompts."""
    model = Causal.load(config.model).eval()
    tokens = Tokens(model.tokenizer)
    prompts = [tokens.dialogue([Message("user", text)]) for text in wanted]
    sampler = LocalSampler(model, SamplerConfig(rows=config.clients, max_tokens=config.tokens))
    sampler.sample(prompts[:2], samples=1)
    start = time.perf_counter()
    groups = sampler.sample(prompts, samples=1)
    seconds = time.perf_counter() - start
    return sum(len(one.tokens) for group in groups for one in group) / seconds


if __name__ == "__main__":
    print(json.dumps(main(tyro.cli(Config)), indent=1))
