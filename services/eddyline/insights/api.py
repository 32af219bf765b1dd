"""The routes of insights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from eddyline.adapters.http import id_from_path, json_response, open_to
from eddyline.insights.comparison import ExperimentComparison
from eddyline.insights.measures import Measures
from eddyline.insights.schemas import ExperimentList, ExperimentReport, KpiQuery, KpiReport
from eddyline.settings import Scope

Name = Annotated[str, Path(description="Percent-encoded")]


def router(measures: Measures, comparison: ExperimentComparison) -> APIRouter:
    """Build the routes of a process that keeps a view."""
    routes = APIRouter(tags=["insights"])

    @routes.get(
        "/v1/insights/kpis",
        summary="Measures of the lists that were served",
        response_model=KpiReport,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def kpis(query: Annotated[KpiQuery, Query()]) -> Response:
        return _respond(await run_in_threadpool(measures.kpis, query))

    @routes.get(
        "/v1/insights/experiments",
        summary="All experiments",
        response_model=ExperimentList,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def experiments() -> Response:
        return _respond(await run_in_threadpool(comparison.experiments))

    @routes.get(
        "/v1/insights/experiments/{name}",
        summary="Report of an experiment: which variant does better, and how sure that is",
        response_model=ExperimentReport,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def experiment(name: Name) -> Response:
        return _respond(await run_in_threadpool(comparison.experiment, id_from_path(name, "name")))

    return routes


def _respond(report: BaseModel) -> Response:
    """The report, without the names of groups that it wasn't grouped by."""
    return json_response(report.model_dump(by_alias=True, exclude_unset=True))
