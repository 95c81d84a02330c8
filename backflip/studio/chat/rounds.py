"""Rounds of the studio's chat: one prompt, one answer to four, and the vote that makes them a question and its answer.

Without the user's consent nothing of a round is kept; with it, personal data is taken out first.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from backflip.feedback.personal import redact
from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Message, Prompt, Question
from backflip.studio.refusals import Conflict, NotFound
from backflip.studio.users import User

__all__ = ["SOURCE", "Kept", "Round", "Rounds", "Said"]

SOURCE: Final = "chat"
_REMEMBERED: Final = 2000  # rounds that can still be voted on


@dataclass(eq=False)
class Said:
    """One answer of a round; `usable` once it came to its end and was not blocked."""

    model: str
    text: str = ""
    usable: bool = False
    ended: bool = True


@dataclass
class Round:
    """One prompt and its answers, in the order in which they are shown."""

    user: str
    messages: Sequence[Message]
    answers: list[Said]
    consent: bool
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    voted: bool = False


class Rounds:
    """The last rounds, in memory: a vote comes soon, or not at all."""

    def __init__(self) -> None:
        self._rounds: OrderedDict[str, Round] = OrderedDict()

    def add(self, new: Round) -> None:
        self._rounds[new.id] = new
        while len(self._rounds) > _REMEMBERED:
            self._rounds.popitem(last=False)

    def find(self, key: str, user: User) -> Round:
        """One's own round; NotFound if it is another's, or long ago."""
        found = self._rounds.get(key)
        if found is None or found.user != user.id:
            raise NotFound("this round is not yours, or was too long ago")
        return found


class Kept:
    """What is kept of consented rounds: prompts in the set of the project's name, votes as questions and answers."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project

    def prompt(self, one: Round) -> None:
        """Adds the round's prompt, all of one user's to one split."""
        self.store.add_prompts([_prompt(one)], name=self.project)

    def vote(self, user: User, one: Round, best: int | None, ratings: Mapping[int, int]) -> bool:
        """The better one (None: they are equal), and thumbs as ratings; whether there was something to keep.

        Raises Conflict where the round was voted on already.
        """
        if one.voted:
            raise Conflict("you have voted on these answers already")
        one.voted = True
        candidates = {
            place: Candidate(redact(said.text), origin=said.model, ended=said.ended)
            for place, said in enumerate(one.answers)
            if said.usable and said.text.strip()
        }
        distinct = {candidate.id: candidate for candidate in candidates.values()}
        if not one.consent or len(distinct) < 2 or (best is not None and best not in candidates):
            return False
        question = Question("text", tuple(distinct.values()), _prompt(one))
        chosen = None if best is None else candidates[best].id
        others = tuple(key for key in distinct if key != chosen)
        answer = Answer(
            question.id,
            user.as_labeller,
            (others,) if chosen is None else ((chosen,), others),
            tuple(distinct),
            {candidates[place].id: value for place, value in ratings.items() if place in candidates},
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            source=SOURCE,
        )
        self._project()
        with self.store.transaction():
            self.store.add_questions([question], project=self.project)
            self.store.answer(answer, key=f"chat-{one.id}")
        return True

    def forget(self, user: User) -> int:
        """Takes one's prompts out of the set; votes are withdrawn where all one's answers are."""
        return self.store.remove_prompts(name=self.project, user=user.id)

    def _project(self) -> None:
        projects = Projects(self.store)
        if projects.find(self.project) is None:
            projects.save(Project(self.project))


def _prompt(one: Round) -> Prompt:
    messages = tuple(replace(message, content=redact(message.content)) for message in one.messages)
    return Prompt(messages, user=one.user, source=SOURCE)
