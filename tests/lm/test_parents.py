"""What a model's folder, a hub's name or a function is as a parent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from backflip.lm.hub import tiny_model
from backflip.lm.parents import SOURCE_FILE, parent_of, parents_of
from backflip.runs.ledger import open_run
from backflip.runs.lineage import Parent


def folder_of(path: Path, config: str, weights: bytes) -> Path:
    path.mkdir()
    (path / "config.json").write_text(config)
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_a_folder_is_known_by_what_it_holds(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "base", "{}", b"weights")
    wanted = Parent("model", str(folder), {"sha256": hashlib.sha256(b"{}weights").hexdigest()})
    assert parent_of(folder) == parent_of(str(folder)) == wanted
    twin, other = folder_of(tmp_path / "twin", "{}", b"weights"), folder_of(tmp_path / "other", "{}", b"Weights")
    assert parent_of(twin).identity(tmp_path) == wanted.identity(tmp_path)
    assert parent_of(other).identity(tmp_path) != wanted.identity(tmp_path)


def test_a_fetched_model_is_known_by_the_digest_beside_it(tmp_path: Path) -> None:
    made = tiny_model(tmp_path / "tiny")
    assert json.loads((made.folder / SOURCE_FILE).read_text())["sha256"] == made.sha256
    assert parent_of(made.folder).detail == {"sha256": made.sha256}


def test_a_runs_model_is_known_by_the_run(tmp_path: Path) -> None:
    from backflip.lm.sampler import SamplerConfig

    with open_run(tmp_path / "run", recipe="sft", config=SamplerConfig(), seed=0) as run:
        folder_of(tmp_path / "run" / "model", "{}", b"weights")
        run.finish({})
    parent = parent_of(tmp_path / "run" / "model")
    assert parent.detail == {}
    assert parent.identity(tmp_path)["run"] == run.fingerprint


def test_functions_and_hub_names_are_known_by_name() -> None:
    found = parents_of(["python:my.module:judge", "hub/name", "python:my.module:judge"])
    assert found == [Parent("data", "python:my.module:judge"), Parent("model", "hub/name")]
