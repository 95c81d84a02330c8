"""Whatever is sent to the API, it answers as its OpenAPI description says, and never fails."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from studio_kit import Site, ask

from backflip.feedback.projects import Project

STREAM = "/api/events"  # which never ends
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_the_api_keeps_to_its_description(site: Site) -> None:
    site.store.add_questions(ask(i) for i in range(50))
    site.studio.projects.save(Project("default", gold=0.0))
    boss = site.person("boss", "admin")
    token = boss.post("/api/me/tokens", {"label": "fuzz"}).json()["token"]
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", site.app).exclude(path=STREAM)
    seen: list[int] = []

    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

        @settings(
            max_examples=5,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=modes[0] | modes[1])
        def answers(case: Any) -> None:
            if "project" in case.path_parameters:
                case.path_parameters["project"] = "default"
            headers = {"Authorization": f"Bearer {token}"}
            response = case.call_and_validate(headers=headers, checks=CHECKS, timeout=120)
            seen.append(response.status_code)

        answers()
    assert len(seen) > 100
    assert {200, 404, 422} <= set(seen)
