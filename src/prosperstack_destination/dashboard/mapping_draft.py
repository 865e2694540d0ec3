"""Draft of the mapping on the dashboard: the bar on the pages of the mapping, and its removal.

The draft is stored once for the account, so every operator sees the draft of the others.
"""

from starlette.responses import Response

from prosperstack_destination.admin import mapping_drafts
from prosperstack_destination.dashboard.routing import PageContext


async def discard(context: PageContext) -> Response:
    """Discard the stored draft."""
    await context.services.database.write(mapping_drafts.discard, context.account)
    return context.redirect_home("mapping", flash="The draft is discarded.")


async def draft_bar(context: PageContext) -> str:
    """Render the bar about the stored draft; "" without one."""
    summary = await context.services.database.read(mapping_drafts.summary, context.account)
    if summary is None:
        return ""
    return context.fragment("mapping/draft_bar.html", draft=summary)
