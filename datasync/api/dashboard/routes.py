"""The pages and what their buttons do. Everything that they show, the API tells as well."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from datasync.api.dashboard import login_routes
from datasync.api.dashboard.actions import read_form, told
from datasync.api.dashboard.live import one_of_few, stream
from datasync.api.dashboard.overview import overview
from datasync.api.dashboard.pages import pages_of
from datasync.api.dashboard.preview import preview_of
from datasync.api.dependencies import ControllerOf, ShutdownOf
from datasync.api.rates import RUNS as RUNS_ASKED
from datasync.api.rates import limited
from datasync.api.requests import in_thread
from datasync.api.run_routes import Before, RunId
from datasync.api.security import root_of
from datasync.controllers.sync_controller import SyncController
from datasync.controllers.trash import check_request
from datasync.errors import PageMissing, TooManyRequests
from datasync.models.s3_models import RestoreRequest, RunReport, Span
from datasync.models.sync_models import State, Verdict

router = APIRouter(prefix="/ui", include_in_schema=False)

ROWS = 100
DOCTOR_SECONDS = 120
STREAMED = [Depends(one_of_few)]
SIZES = (("1 MiB", "1048576"), ("100 MiB", "104857600"), ("1 GiB", "1073741824"))
SpanOf = Annotated[Span, Query()]


# Overview


@router.get("")
async def show_overview(
    request: Request, controller: ControllerOf, span: SpanOf = Span.HOUR
) -> Response:
    found = await in_thread(overview, controller, span)
    return pages_of(request).page(request, "overview.html", "", **found)


@router.get("/live", dependencies=STREAMED)
async def live_overview(
    request: Request, shutdown: ShutdownOf, span: SpanOf = Span.HOUR
) -> Response:
    pages, overviews = pages_of(request), request.app.state.overviews

    def parts() -> Mapping[str, str]:
        found = overviews.latest(span)
        names = ("state", "figures", "plots", "moving", "lately")
        return {
            name: pages.text(request, "live.html", part=f"overview_{name}.html", **found)
            for name in names
        }

    return stream(request, shutdown, partial(in_thread, parts))


def _more(request: Request, page: str, asked: Mapping[str, str], **after: object) -> str:
    """The link to what comes after this part of a list; empty at its end."""
    if None in after.values():
        return ""
    here = {name: value for name, value in asked.items() if value}
    return f"{root_of(request.scope)}/ui/{page}?{urlencode({**here, **after})}"


# Files


@router.get("/files")
async def show_files(
    request: Request,
    controller: ControllerOf,
    prefix: str = "",
    state: str = "",
    verdict: str = "",
    least: str = "",
    token: str | None = None,
) -> Response:
    asked = {"prefix": prefix, "state": state, "verdict": verdict, "least": least}
    states = [State(state)] if state in {each.value for each in State} else []
    wanted = Verdict(verdict) if verdict in {each.value for each in Verdict} else None
    least_bytes = int(least) if least in {size for _, size in SIZES} else 0
    page = await in_thread(controller.held_files, prefix, token, ROWS, states, wanted, least_bytes)
    return pages_of(request).page(
        request,
        "files.html",
        "/files",
        files=page.files,
        next=_more(request, "files", asked, token=page.next_token),
        asked={**asked, "any": any(asked.values())},
        stats=await in_thread(controller.stats),
        states=[each.value for each in State],
        verdicts=[each.value for each in Verdict],
        sizes=SIZES,
    )


@router.get("/files/one")
async def show_file(request: Request, controller: ControllerOf, key: str) -> Response:
    file = await in_thread(controller.held_file, key)
    outcomes = (await in_thread(controller.outcomes, key, None, None, None, ROWS)).outcomes
    return pages_of(request).page(
        request,
        "file.html",
        "/files",
        status=200 if file or outcomes else 404,
        key=key,
        file=file,
        outcomes=outcomes,
        preview=await in_thread(preview_of, controller, key) if file else None,
    )


# Runs


@router.get("/runs")
async def show_runs(request: Request, controller: ControllerOf, before: Before = None) -> Response:
    page = await in_thread(controller.runs, 50, before)
    older = _more(request, "runs", {}, before=page.next_before)
    return pages_of(request).page(request, "runs.html", "/runs", runs=page.runs, next=older)


@router.get("/runs/{run_id}")
async def show_run(request: Request, controller: ControllerOf, run_id: RunId) -> Response:
    run = await in_thread(controller.run, run_id)
    return pages_of(request).page(request, "run.html", "/runs", run=run, live=_goes_on(run))


def _goes_on(run: RunReport) -> bool:
    return run.status in ("queued", "running", "held")


@router.get("/runs/{run_id}/live", dependencies=STREAMED)
async def live_run(
    request: Request, controller: ControllerOf, shutdown: ShutdownOf, run_id: RunId
) -> Response:
    pages = pages_of(request)

    def parts() -> Mapping[str, str]:
        run = controller.run(run_id)
        body = {"run": pages.text(request, "live.html", part="run_body.html", run=run)}
        return body if _goes_on(run) else {**body, "over": "yes"}

    return stream(request, shutdown, partial(in_thread, parts))


@router.post("/sync", dependencies=[Depends(limited(RUNS_ASKED))])
async def start_run(request: Request, controller: ControllerOf) -> Response:
    run, _ = await in_thread(controller.trigger, "")
    return told("The bucket is being compared.", go=f"{root_of(request.scope)}/ui/runs/{run.id}")


@router.post("/runs/{run_id}/approve")
async def approve_run(request: Request, controller: ControllerOf, run_id: RunId) -> Response:
    await in_thread(controller.approve, run_id)
    return told("Approved: each delete is confirmed with S3 now.")


@router.post("/runs/{run_id}/cancel")
async def cancel_run(request: Request, controller: ControllerOf, run_id: RunId) -> Response:
    run = await in_thread(controller.cancel, run_id)
    return told(f"Run {run.id} is {'cancelled' if run.status == 'cancelled' else 'stopping'}.")


# Problems


@router.get("/problems")
async def show_problems(
    request: Request, controller: ControllerOf, token: str | None = None
) -> Response:
    found = await in_thread(_problems, request, controller, token)
    return pages_of(request).page(
        request,
        "problems.html",
        "/problems",
        from_here=f"?{urlencode({'token': token})}" if token else "",
        **found,
    )


def _problems(request: Request, controller: SyncController, token: str | None) -> dict[str, Any]:
    page = controller.failures("", token, ROWS)
    return {
        "failures": page.failures,
        "next": _more(request, "problems", {}, token=page.next_token),
        "rest": bool(token),
        "now": datetime.now(UTC),
    }


@router.get("/problems/live", dependencies=STREAMED)
async def live_problems(
    request: Request, controller: ControllerOf, shutdown: ShutdownOf, token: str | None = None
) -> Response:
    pages = pages_of(request)

    def parts() -> Mapping[str, str]:
        found = _problems(request, controller, token)
        return {"problems": pages.text(request, "live.html", part="problems_body.html", **found)}

    return stream(request, shutdown, partial(in_thread, parts))


@router.post("/retry", dependencies=[Depends(limited(RUNS_ASKED))])
async def retry(request: Request, controller: ControllerOf) -> Response:
    form = await read_form(request)
    keys = [form["key"]] if form.get("key") else None
    answer = await in_thread(controller.retry, keys)
    return told(answer.message)


# Trash


@router.get("/trash")
async def show_trash(
    request: Request,
    controller: ControllerOf,
    prefix: str = "",
    why: str = "",
    token: str | None = None,
) -> Response:
    page = await in_thread(controller.trash.page, prefix, why or None, token, ROWS)
    asked = {"prefix": prefix, "why": why}
    return pages_of(request).page(
        request,
        "trash.html",
        "/trash",
        files=page.files,
        next=_more(request, "trash", asked, token=page.next_token),
        asked={**asked, "any": any(asked.values())},
        retention=controller.settings().get("trash_retention_days"),
    )


@router.post("/trash/restore")
async def restore(request: Request, controller: ControllerOf) -> Response:
    form = await read_form(request)
    if "id" in form:
        asked = RestoreRequest(ids=[form["id"]])
    else:
        asked = RestoreRequest(prefix=form.get("prefix"), why=form.get("why") or None)
    report = await in_thread(controller.trash.restore, check_request(asked))
    failed = next((each for each in report.restored if each.error), None)
    if failed is not None:
        return told(f"{report.message}: {failed.error} {failed.hint}".strip(), "bad", status=409)
    if any(each.stays is False for each in report.restored):
        said = "The bucket has an object of that name: the next run brings it back."
        return told(f"{report.message}. {said}", "warn")
    return told(f"{report.message}.")


# Events, settings, doctor


@router.get("/events")
async def show_events(request: Request, controller: ControllerOf) -> Response:
    found = await in_thread(controller.outcomes, None, None, None, None, ROWS)
    stats = await in_thread(controller.stats)
    return pages_of(request).page(
        request, "events.html", "/events", outcomes=found.outcomes, stats=stats
    )


@router.get("/events/live", dependencies=STREAMED)
async def live_events(request: Request, controller: ControllerOf, shutdown: ShutdownOf) -> Response:
    pages = pages_of(request)

    def parts() -> Mapping[str, str]:
        found = controller.outcomes(None, None, None, None, ROWS)
        return {"feed": pages.text(request, "live.html", part="feed.html", outcomes=found.outcomes)}

    return stream(request, shutdown, partial(in_thread, parts))


@router.get("/settings")
async def show_settings(request: Request, controller: ControllerOf) -> Response:
    shown = controller.settings()
    return pages_of(request).page(request, "settings.html", "/settings", settings=shown)


@router.get("/doctor")
async def show_doctor(request: Request) -> Response:
    return pages_of(request).page(request, "doctor.html", "/doctor")


@router.post("/doctor")
async def run_doctor(request: Request) -> Response:
    """In a process of its own, as on the command line: what it tries must not disturb us."""
    command = (sys.executable, "-m", "datasync", "doctor", "--json")
    with request.app.state.doctors.place() as free:
        if not free:
            raise TooManyRequests("the checks are going on already", retry_after_seconds=10)
        return await _visit(request, command)


async def _visit(request: Request, command: Sequence[str]) -> Response:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **request.app.state.variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    findings: list[dict[str, Any]] = []
    problem = ""
    try:
        out, err = await asyncio.wait_for(process.communicate(), DOCTOR_SECONDS)
        findings = json.loads(out)["checks"] if out else []
        problem = "" if findings else err.decode(errors="backslashreplace")
    except TimeoutError:
        problem = f"The checks took more than {DOCTOR_SECONDS} seconds."
    finally:
        if process.returncode is None:
            process.kill()
    text = pages_of(request).text(
        request, "live.html", part="doctor_findings.html", findings=findings, problem=problem
    )
    return Response(text, media_type="text/html; charset=utf-8")


router.include_router(login_routes.router)


@router.get("/{path:path}")
async def no_page(path: str) -> Response:
    """The last route: what no other one takes."""
    raise PageMissing(f"there is no page {path!r}")
