"""The HTTP API of jobs."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.schemas import Job, ListJobsRequest
from services.gateway.jobs.runner import Jobs
from services.gateway.routing import json_response, parse, route

JOBS_PATH = "/v1/jobs"


class JobsApi:
    """Handlers over the queue."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        one = JOBS_PATH + "/{job_id}"
        return [
            route("GET", JOBS_PATH, self.list),
            route("GET", one, self.get),
            route("POST", one + "/cancel", self.cancel),
        ]

    async def list(self, request: Request) -> Response:
        """One page of the jobs, without their errors."""
        return json_response(await asyncio.to_thread(self._jobs.queue.list, parse(ListJobsRequest, dict(request.query_params))))

    async def get(self, request: Request) -> Response:
        """A job with its errors."""
        return json_response(await asyncio.to_thread(self._jobs.queue.get, request.path_params["job_id"]))

    async def cancel(self, request: Request) -> Response:
        """Stop a job before its next documents; what is stored stays. A job that has ended stays as it is."""
        return json_response(await asyncio.to_thread(self._jobs.queue.cancel, request.path_params["job_id"]))


def accepted(job: Job) -> Response:
    """202, and where to ask for the job."""
    return json_response(job, HTTPStatus.ACCEPTED, {"Location": f"{JOBS_PATH}/{job.id}"})
