"""Questions and answers about clips: how they go into the store and come out of it as comparisons.

The store is the only place where those who ask, those who answer and those who learn meet. The clips themselves lie
as segments in the run's folder, filed under the name that their question uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backflip.control.predictor import Comparisons
from backflip.control.segments import Segment, SegmentFolder, media_key, segment_of
from backflip.control.teachers import Clip, Teacher
from backflip.errors import DataError
from backflip.feedback.pairs import pairs
from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Prompt, Question

__all__ = ["Clip", "Conversation", "Film"]

Film = Callable[[Segment], str]  # makes the media of a clip and gives its key


class Conversation:
    """One project of a store, and the segments that its questions show.

    `reused` are the folders of earlier runs whose segments may be named too.
    """

    def __init__(
        self,
        store: Store,
        segments: SegmentFolder,
        *,
        project: str,
        wanted: str,
        purpose: str = "train",
        film: Film | None = None,
        reused: Sequence[SegmentFolder] = (),
    ) -> None:
        self.store, self.segments, self.project, self.purpose = store, segments, project, purpose
        self._wanted = Prompt.ask(wanted)
        self._film = film
        self._reused = reused

    # --- asking

    def ask(self, chosen: Iterable[tuple[Clip, Clip]], *, origin: str, priority: float = 0.0) -> list[Question]:
        """Puts questions about pairs of clips into the store; returns them, the known ones too."""
        questions = [
            Question(
                medium="clip",
                candidates=tuple(self._candidate(clip, origin) for clip in pair),
                prompt=self._wanted,
                purpose=self.purpose,
                priority=priority,
            )
            for pair in chosen
        ]
        self.store.add_questions(questions, project=self.project)
        return questions

    def _candidate(self, clip: Clip, origin: str) -> Candidate:
        segment, rewards = clip
        key = self._film(segment) if self._film else media_key(segment)
        self.segments.put(segment, rewards=rewards, name=segment_of(key))
        return Candidate(media=key, origin=origin)

    # --- answering

    def have_answered(self, teacher: Teacher, questions: Iterable[Question]) -> list[tuple[int, Answer]]:
        """The teacher answers at once; an answer that was given before keeps its number."""
        answers = teacher.answer([(q, {c.id: self._clip(c) for c in q.candidates}) for q in questions])
        return [(self.store.answer(answer, key=answer.question), answer) for answer in answers]

    def _clip(self, candidate: Candidate) -> Clip:
        name = segment_of(str(candidate.media))
        return self._segment(name), self._sealed(name)

    def _segment(self, name: str) -> Segment:
        for folder in self._reused:
            try:
                return folder.get(name)
            except DataError:
                continue
        return self.segments.get(name)

    def _sealed(self, name: str) -> NDArray[np.float64] | None:
        return self.segments.rewards(name)

    # --- learning

    def answers(self, *, after: int = 0) -> Iterator[tuple[int, Answer]]:
        """Answers in the order of their numbers, from after this number on."""
        yield from self.store.answers(after=after, project=self.project, purpose=self.purpose)

    def comparisons(
        self, answers: Iterable[tuple[int, Answer]], *, score: Callable[[Clip], float] | None = None
    ) -> Comparisons | None:
        """What the answers say, ties as halves; None where none says anything ("cannot tell").

        `score` is a simulated teacher's, where it is to tell how good it holds each clip.
        """
        rows: list[tuple[Segment, Segment, float, str]] = []
        scores: list[tuple[float, float]] = []
        for _, answer in answers:
            question = self.store.question(answer.question)
            names = {c.id: segment_of(str(c.media)) for c in question.candidates}
            said = list(pairs(answer, ties="half"))
            rows += [
                (self._segment(names[p.better]), self._segment(names[p.worse]), p.target, _key(answer, p)) for p in said
            ]
            if score is not None:
                known = {c.id: score(self._clip(c)) for c in question.candidates}
                scores += [(known[p.better], known[p.worse]) for p in said]
        if not rows:
            return None
        data = Comparisons.of(rows)
        return data if score is None else replace(data, scores=torch.tensor(scores, dtype=torch.float32))


def _key(answer: Answer, pair: Any) -> str:
    """Names a pair of an answer by what was asked and of whom: the same in every run that learns from it."""
    return f"{answer.question}/{answer.labeller.id}/{pair.better}/{pair.worse}"
