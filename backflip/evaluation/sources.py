"""Public test sets: from a folder of yours if they are there, else from where they were published, checked by sha256.

Each set has one file name. `find` looks for it (gzipped or not) under `folder`, then $BACKFLIP_DATA, then the cache,
and then asks the network; it never leaves a set out in silence.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backflip.errors import ConfigError, DataError
from backflip.feedback.formats.files import Row, read_rows
from backflip.lm.hub import default_cache
from backflip.runs.files import atomic_write_bytes

__all__ = ["SOURCES", "Source", "data_folder", "find", "json_rows", "json_value", "table_rows"]

DATA = "BACKFLIP_DATA"
PUBLIC = "https://raw.githubusercontent.com"
_SECONDS = 30.0


def data_folder() -> Path:
    """The folder of the public data sets, of which $BACKFLIP_DATA tells; ConfigError where it does not."""
    if not (place := os.environ.get(DATA)):
        raise ConfigError(f"{DATA} is not set; wanted the folder of the public data sets: export {DATA}=...")
    return Path(place)


@dataclass(frozen=True)
class Source:
    """A published file: its repository, commit and path, the sha256 of its content, and its place in a data folder."""

    repository: str
    commit: str
    path: str
    sha256: str
    place: str

    @property
    def file(self) -> str:
        """The file's name in a data folder, without a .gz."""
        return Path(self.place).name.removesuffix(".gz")

    def url(self, root: str) -> str:
        return f"{root}/{self.repository}/{self.commit}/{self.path}"


def find(name: str, folder: Path | None = None, *, root: str = PUBLIC) -> Path:
    """The file of the set `name`. `folder` holds it directly or in the folder that the set has in $BACKFLIP_DATA.

    A file of yours is taken as it is: it may be a newer version. What the network gives must be what was tested.
    Raises DataError that says where was looked.
    """
    source = SOURCES[name]
    data = os.environ.get(DATA)
    looked = [Path(place) for place in (folder, data) if place]
    if folder is not None and not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist; give one that holds {source.file}, or none")
    for place in looked:
        for candidate in (source.place, source.place.removesuffix(".gz"), source.file, f"{source.file}.gz"):
            if (place / candidate).is_file():
                return place / candidate
    cached = default_cache() / "data" / f"{source.sha256[:12]}-{source.file}"
    if not cached.is_file():
        atomic_write_bytes(cached, _download(name, source, root, looked))
    return cached


def _download(name: str, source: Source, root: str, looked: list[Path]) -> bytes:
    where = f"looked in {', '.join(map(str, looked))}" if looked else "no data folder was given"
    wanted = f"put the file {source.file} into a folder and name that folder: ${DATA}, or --data of `backflip measure`"
    try:
        with urllib.request.urlopen(source.url(root), timeout=_SECONDS) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise DataError(
            f"the set {name!r} is not here ({where}) and {source.url(root)} gave {error}; {wanted}"
        ) from error
    seen = hashlib.sha256(content).hexdigest()
    if seen != source.sha256:
        raise DataError(
            f"{source.url(root)} has sha256 {seen}, wanted {source.sha256}: not the file that was tested; {wanted}"
        )
    return content


def json_rows(name: str, folder: Path | None) -> list[Row]:
    """The rows of a set of JSON lines or of a JSON array."""
    return read_rows(find(name, folder))


def json_value(name: str, folder: Path | None) -> Any:
    """The value of a set that is one JSON document."""
    path = find(name, folder)
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); fetch it again") from error


def table_rows(name: str, folder: Path | None, *, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a set of comma- or tab-separated values. Raises DataError where a column is missing."""
    path = find(name, folder)
    delimiter = "\t" if ".tsv" in path.name else ","
    rows = list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter))
    if not rows:
        raise DataError(f"{path} has no row; fetch it again")
    if missing := set(columns) - set(rows[0]):
        raise DataError(f"{path} has columns {list(rows[0])}; wanted {sorted(missing)} as well")
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}); fetch it again") from error


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "truthfulqa": Source(
            "benedictflorance/truthfulqa_experiments",
            "6fdfd38288e86296582a584694df5cf43d1f634a",
            "datasets/TruthfulQA.csv",
            "99d6ae7755e3b435eade956068c9de7c0c474770344237aeb66b56519ba4b697",
            "eval_truthfulqa/TruthfulQA.csv.gz",
        ),
        "truth_labels": Source(
            "benedictflorance/truthfulqa_experiments",
            "6fdfd38288e86296582a584694df5cf43d1f634a",
            "datasets/finetune_truth.jsonl",
            "8e81d9f0dc592e26fb0d37106126e489d39ac75099828b1f2c8142f3ede60c6b",
            "eval_truthfulqa/finetune_truth.jsonl.gz",
        ),
        "real_toxicity_prompts": Source(
            "GXimingLu/Quark",
            "30c9a0fe022b7d006b826abec2eb5d3ac288e637",
            "data/toxicity/val.jsonl",
            "e04b11a04505777e3fdf6e31c74edec623033d8808290745ce0f211ddaf380a7",
            "eval_real_toxicity_prompts/rtp_val.jsonl.gz",
        ),
        "crows_pairs": Source(
            "nyu-mll/crows-pairs",
            "8aaac11c485473159ec9328a65253a5be9a479dc",
            "data/crows_pairs_anonymized.csv",
            "dfb36986ce0502abbaf7055b9176da3d08d48e07df1251991b5dfbcbceab9d0c",
            "eval_crows_pairs/crows_pairs_anonymized.csv.gz",
        ),
        "winogender": Source(
            "rudinger/winogender-schemas",
            "1c7f8b481ad8a234b41e9f76a424d6e856e13f7f",
            "data/all_sentences.tsv",
            "bd69da16bf228cb8df63fd0843aec2d8b5c36a7f21bf8c7b168bcc83932556c8",
            "eval_winogender/all_sentences.tsv",
        ),
        "winogender_occupations": Source(
            "rudinger/winogender-schemas",
            "1c7f8b481ad8a234b41e9f76a424d6e856e13f7f",
            "data/occupations-stats.tsv",
            "3f7f37c16381a70571356982ea7fe613ac700ad04a6d3b19b9f2be18248df567",
            "eval_winogender/occupations-stats.tsv",
        ),
        "cvalues": Source(
            "X-PLUG/CValues",
            "3018d3886890d04c95c9051c7055fb19e36ef592",
            "dataset/cvalues_responsibility_prompts.jsonl",
            "ee99050d4a8933829697c796e279b83795838feacefc84cdd06856bad01bfff4",
            "eval_cvalues_zh/cvalues_responsibility_prompts.jsonl",
        ),
        "safetybench_answers": Source(
            "thu-coai/SafetyBench",
            "960833692a1ec82b191ff3e902daca7993c35cc1",
            "opensource_data/test_answers_zh_subset.json",
            "41c3e40330a7a96375de54b46df4839f6a46e8c9f6be974a2d31b35b8012af6c",
            "eval_safetybench_zh/test_answers_zh_subset.json",
        ),
        "safetybench": Source(
            "thu-coai/SafetyBench",
            "960833692a1ec82b191ff3e902daca7993c35cc1",
            "opensource_data/test_zh_subset.json",
            "8760b0621df0fa81b99f7e49961853f1ff8b5ac0e4f1f96dad20a587c33aea4f",
            "eval_safetybench_zh/test_zh_subset.json.gz",
        ),
        "instructgpt_truthfulqa": Source(
            "openai/following-instructions-human-feedback",
            "5c0534c78136809ab0118c5c1b74d159befa2467",
            "automatic-eval-samples/truthful_qa_samples.csv",
            "038cdde661efd5ceb4815a3d1881776b193b0a7784aa00d9ee955a44db2f7829",
            "eval_instructgpt_samples/truthful_qa_samples.csv.gz",
        ),
        "instructgpt_toxicity": Source(
            "openai/following-instructions-human-feedback",
            "5c0534c78136809ab0118c5c1b74d159befa2467",
            "automatic-eval-samples/real_toxicity_samples.csv",
            "3536e121d5a33893061319d0cade12ff2121d8af858c4bd971f0364006857b29",
            "eval_instructgpt_samples/real_toxicity_samples.csv.gz",
        ),
        "instructgpt_squad": Source(
            "openai/following-instructions-human-feedback",
            "5c0534c78136809ab0118c5c1b74d159befa2467",
            "automatic-eval-samples/squadv2_samples.csv",
            "2e4cacda2904365debb2658688bfed4352f753f31bbcac2db1956ba727ac5dd4",
            "eval_instructgpt_samples/squadv2_samples.csv.gz",
        ),
        "instructgpt_tldr": Source(
            "openai/following-instructions-human-feedback",
            "5c0534c78136809ab0118c5c1b74d159befa2467",
            "automatic-eval-samples/tldr_samples.csv",
            "212b2347a7ffbd9217856bc3964179f1ce95032bd6d8d7d2ba80c2a07c80abfc",
            "eval_instructgpt_samples/tldr_samples.csv.gz",
        ),
        "davidson": Source(
            "t-davidson/hate-speech-and-offensive-language",
            "cb50f7e9eb855a99abc51423bf40df0e26d6fe30",
            "data/labeled_data.csv",
            "fcb8bc7c68120ae4af04a5b9acd58585513ede11e1548ebf36a5c2040b6f6281",
            "moderation_davidson/labeled_data.csv.gz",
        ),
        "dices": Source(
            "dmg-illc/JUDGE-BENCH",
            "5a0bf500325029efb5dc8adff2c1e991996f0e78",
            "data/dices/dices_990.json",
            "3f80b2cd66052bc2e6e348742ebb29d1048073908e881c2a60c94026e8647d2f",
            "moderation_dices/dices_990.json.gz",
        ),
        "batch13": Source(
            "redwoodresearch/mlab",
            "b117473d3321887cfab9325782542016c9a996be",
            "comparisons/batch13.json",
            "e4f4de3ad8763b801c4b45ff277e1ead75e9c4105f1b0837793c4b51477ec122",
            "pref_summarize_from_feedback/batch13.jsonl.gz",
        ),
        "pandalm": Source(
            "WeOpenML/PandaLM",
            "3871806e72b4832f815ecafd24d3503c73403f48",
            "data/testset-v1.json",
            "cc154f9067c7382d7ea86f8f246511a5e1ac87e1fddd845c5938d789505b07a4",
            "pref_pandalm/testset-v1.json.gz",
        ),
        "hh_harmless": Source(
            "anthropics/hh-rlhf",
            "354e5c3cb8960630860dd5774a6ac2a58313bf4d",
            "harmless-base/test.jsonl.gz",
            "ebfaaed21162a4de120ae85366075b34425e2a6303fac59b99555002f7016f03",
            "pref_hh_rlhf/harmless-base_test.jsonl.gz",
        ),
        "hh_helpful": Source(
            "DaehanKim/EasyRLHF",
            "45eccb72ddb8c18aa52dc2a184516380e06582fe",
            "data/helpful-base/test.jsonl.gz",
            "8be3fc1a13b27901631696f2be6f184c799f1baeaf145f53ac5db24960adc37b",
            "pref_hh_rlhf/helpful-base_test.jsonl.gz",
        ),
    }
)
