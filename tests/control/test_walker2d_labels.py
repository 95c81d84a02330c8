"""Real labels, on made ones of the same form: what is foretold, and who is found to answer at random."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backflip.errors import ConfigError
from backflip.runs import read_run
from experiments import walker2d_labels as labels

STEPS = 5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pairs of which the one is better whose third observation is higher; the person ties a fifth of them."""
    place, draw = tmp_path / "control_pref_d4rl_human", np.random.default_rng(0)
    place.mkdir()
    told = {}
    for name, count in zip(labels.FILES, (90, 20), strict=True):
        obs = draw.normal(size=(2, count, STEPS, 17)).astype(np.float32)
        action = draw.uniform(-1, 1, size=(2, count, STEPS, 6)).astype(np.float32)
        second = (obs[1, :, :, 2].sum(axis=1) > obs[0, :, :, 2].sum(axis=1)).astype(float)
        person = np.where(np.arange(count) % 5 == 0, 0.5, second)
        parts = {"obs_1": obs[0], "obs_2": obs[1], "action_1": action[0], "action_2": action[1], "label": person}
        np.savez(place / f"{labels.NAME}{name}.npz", **parts)
        told[f"{labels.NAME}{name}.npz"] = {"label_human": person.tolist(), "label_script": second.tolist()}
    (place / "oracle_script_labels.json").write_text(json.dumps(told))
    return tmp_path


def test_what_a_person_wants_is_foretold(data: Path, tmp_path: Path) -> None:
    loaded = labels.load(data)
    assert len(loaded) == 110
    assert [float((loaded.labels[judge] == 0.5).sum()) for judge in ("person", "true return")] == [22, 0]
    better = loaded.observations[..., 2].sum(dim=-1)
    assert ((better[:, 0] > better[:, 1]).float() == loaded.labels["true return"]).all()
    config = labels.Agreement(tmp_path / "run", data, "person", answers=80, seeds=2, steps=150)
    labels.agreement(config)
    labels.agreement(config)  # it is done
    record = read_run(config.folder)
    assert record is not None
    row = labels.agreement_row(config, record)
    for judge in ("person", "true_return"):
        value, low, high = row[f"agrees_with_{judge}"]
        assert 0.6 < low <= value <= high


def test_who_does_not_look_is_found(data: Path, tmp_path: Path) -> None:
    config = labels.Found(tmp_path / "run", data, answers=100, draws=4)
    labels.found_at_random(config)
    record = read_run(config.folder)
    assert record is not None
    shares = labels.found_row(config, record)["taken_for_random"]
    assert shares["at random"][0] >= 0.75
    assert [shares[who][0] for who in ("person", "true return", "true return, 10 % wrong")] == [0, 0, 0]


def test_the_table_needs_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKFLIP_DATA", raising=False)
    with pytest.raises(ConfigError, match="BACKFLIP_DATA"):
        labels.table(tmp_path)
    monkeypatch.setenv("BACKFLIP_DATA", str(tmp_path))
    assert len({cell.name for cell in labels.table(tmp_path).cells}) == 2 * len(labels.SIZES) + 3
