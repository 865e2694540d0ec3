"""Routes of the dashboard."""

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.admin.sessions import Sessions
from prosperstack_destination.dashboard.accounts import AccountPages
from prosperstack_destination.dashboard.call_rules import call_rule_pages
from prosperstack_destination.dashboard.calls import CallPages
from prosperstack_destination.dashboard.login import Login
from prosperstack_destination.dashboard.mapping import MappingPages
from prosperstack_destination.dashboard.mapping_editor import MappingEditorPages
from prosperstack_destination.dashboard.mapping_history import MappingHistoryPages
from prosperstack_destination.dashboard.overview import OverviewPages
from prosperstack_destination.dashboard.people import PeoplePages
from prosperstack_destination.dashboard.problems import ProblemsPages
from prosperstack_destination.dashboard.rendering import Renderer, Templates
from prosperstack_destination.dashboard.routing import PageContext, PageRoute, PageRouter
from prosperstack_destination.dashboard.segment import SegmentConnectPages, SegmentPages, WorkspaceSelections
from prosperstack_destination.dashboard.segment_manual import SegmentManualPages
from prosperstack_destination.dashboard.settings import settings_pages
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.dashboard.static_files import Assets
from prosperstack_destination.errors import NotFoundError


def dashboard_routes(
    services: AdminServices, sessions: Sessions, live: LiveUpdates, templates: Templates, trusted_proxies: int
) -> list[BaseRoute]:
    """Return the routes below ``/dashboard``."""
    assets = Assets()
    renderer = Renderer(assets, templates)
    login = Login(sessions, renderer, trusted_proxies)
    pages = PageRouter(services, sessions, renderer)
    selections = WorkspaceSelections(services.clock)
    return [
        Route("/dashboard/static/{name}", assets.serve, methods=["GET"], include_in_schema=False),
        *login.routes(),
        *pages.routes(login.pages()),
        *pages.routes(OverviewPages(live).pages()),
        *pages.routes(SegmentPages(live, selections).pages()),
        *pages.routes(SegmentConnectPages(selections).pages()),
        *pages.routes(SegmentManualPages(live).pages()),
        *pages.routes(MappingPages(live).pages()),
        *pages.routes(MappingEditorPages().pages()),
        *pages.routes(call_rule_pages()),
        *pages.routes(MappingHistoryPages().pages()),
        *pages.routes(AccountPages().pages()),
        *pages.routes(CallPages(live).pages()),
        *pages.routes(settings_pages()),
        *pages.routes(PeoplePages(live).pages()),
        *pages.routes(ProblemsPages(live).pages()),
        *pages.routes([PageRoute("/{rest:path}", _not_found, of_account=False)]),  # last: it matches every path
    ]


async def _not_found(_: PageContext) -> Response:
    raise NotFoundError("No such page.")
