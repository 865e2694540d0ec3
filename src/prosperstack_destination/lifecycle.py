"""Start and stop of the service: opens the parts in the order of their dependencies, and closes them in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import structlog

from prosperstack_destination import __version__
from prosperstack_destination.admin.services import ALL_ACCOUNTS, AdminServices
from prosperstack_destination.auth.operators import load_or_create_password, load_password
from prosperstack_destination.auth.vault import load_pseudonym_key
from prosperstack_destination.background import cancel, run_forever
from prosperstack_destination.components import Services
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.settings import Role, reveal

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(services: Services) -> AsyncIterator[None]:
    """Run the service for the length of the block.

    At the end it commits the accepted calls, finishes the requests in flight, and closes everything.
    """
    async with AsyncExitStack() as stack:
        await _open(services, stack)
        await _start_caches(services, stack)
        _start_workers(services, stack)
        log.info("started", version=__version__, role=services.foundation.settings.role)
        yield
        services.dashboard.live.close()
        log.info("stopping")


async def _open(services: Services, stack: AsyncExitStack) -> None:
    """Open the database, load the keys and passwords in it, and register what closes last."""
    foundation, settings = services.foundation, services.foundation.settings
    database, vault = foundation.database, foundation.vault
    if (export := services.observability.export) is not None:
        stack.push_async_callback(asyncio.to_thread, export.close)
    stack.push_async_callback(foundation.http.aclose)
    stack.push_async_callback(foundation.segment_http.aclose)
    stack.push_async_callback(database.close)
    await database.open()
    await database.read(load_pseudonym_key, vault)
    configured = reveal(settings.admin_password)
    password = await database.read(load_password, vault, configured)
    if password is None:
        password = await database.write(load_or_create_password, vault, configured)
    services.dashboard.sessions.set_password(password)
    await services.auth.accounts.sync_from_settings(
        reveal(settings.prosperstack_api_key), [key.get_secret_value() for key in settings.segment_keys]
    )


async def _start_caches(services: Services, stack: AsyncExitStack) -> None:
    """Start the export of metrics, the event writer and the caches of the dashboard."""
    admin, events = services.admin, services.observability.events
    if (export := services.observability.export) is not None:
        refresh = services.observability.accounts.refresh
        exporting = run_forever(partial(export.export_metrics_forever, refresh), "export of metrics")
        stack.push_async_callback(cancel, [exporting])
    stack.push_async_callback(cancel, [asyncio.create_task(_warm_caches(admin))])
    stack.push_async_callback(services.dashboard.templates.close)
    events.start()
    stack.push_async_callback(events.close)
    for cache in (admin.coverage, admin.backlogs, admin.problem_kinds, admin.replay_costs, admin.replays):
        stack.push_async_callback(cache.close)


def _start_workers(services: Services, stack: AsyncExitStack) -> None:
    """Start what delivers and what commits. On the way back, commits end before deliveries."""
    reconciliation, cancel_flow, calls = services.reconciliation, services.cancel_flow, services.ingest.calls
    if reconciliation.role is not Role.RECEIVE:
        for worker in (reconciliation.reconciler, reconciliation.remapper, reconciliation.retention):
            worker.start()
            stack.push_async_callback(worker.stop)
    reconciliation.notifier.start()
    stack.push_async_callback(reconciliation.notifier.stop)
    calls.start()
    stack.push_async_callback(calls.close)
    stack.push_async_callback(cancel_flow.tokens.close)
    stack.push_async_callback(cancel_flow.properties.close)
    cancel_flow.writer.start()
    stack.push_async_callback(cancel_flow.writer.close)


async def _warm_caches(admin: AdminServices) -> None:
    """Load the slowest query of the dashboard's first page."""
    with suppress(StoreUnavailable):  # the page itself loads it again
        await admin.backlogs.get_or_wait(ALL_ACCOUNTS)
