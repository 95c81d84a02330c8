"""A tiny classifier and a tiny causal model, as Transformers folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backflip.lm.hub import tiny_model


@pytest.fixture(scope="session")
def guard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("guard") / "model").folder


@pytest.fixture(scope="session")
def classifier_folder(guard_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labels of its own each (multi-label), random weights."""
    folder = tmp_path_factory.mktemp("labels") / "model"
    names = {0: "toxic", 1: "threat", 2: "spam"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            guard_folder,
            num_labels=3,
            id2label=names,
            label2id={v: k for k, v in names.items()},
            problem_type="multi_label_classification",
        )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(guard_folder).save_pretrained(folder)
    return folder
