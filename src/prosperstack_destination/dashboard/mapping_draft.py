"""Draft of the mapping on the dashboard: loaded, saved, discarded, and shown in a bar on the pages of the mapping.

The draft is stored once for the account, so every operator sees the draft of the others.
"""

import asyncio
from dataclasses import dataclass, replace

from starlette.responses import Response

from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin import mapping_drafts
from prosperstack_destination.dashboard.routing import ACTOR, PageContext
from prosperstack_destination.dashboard.rule_form import RuleFields
from prosperstack_destination.mapping import yaml_editor
from prosperstack_destination.mapping.mapping_file import Fault, ParsedMapping
from prosperstack_destination.mapping.yaml_reader import YamlError


@dataclass(frozen=True, slots=True)
class Draft:
    """Mapping file that an operator edits, with the fields of the rule form."""

    #: Text of the file, including the rule of the form.
    text: str
    #: Version on which the draft is based.
    based_on: int
    fields: RuleFields
    #: Email of the person for the preview; "": a person that the draft changes.
    email: str = ""
    #: Reason why the form's rule is not in the text.
    rule_error: str | None = None
    #: Parsed text; None if it has errors.
    parsed: ParsedMapping | None = None
    faults: tuple[Fault, ...] = ()
    #: Revision of the stored draft that this one was made from, 0 for none; None: unknown, saving replaces any.
    revision: int | None = None
    #: The stored draft has another revision, so this one was not saved.
    is_stale: bool = False

    @property
    def expects(self) -> int:
        """Version that must be current when the draft is applied; ``based_on`` in the text takes precedence."""
        return self.based_on if self.parsed is None or self.parsed.based_on is None else self.parsed.based_on


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


async def current_draft(context: PageContext, fields: RuleFields) -> Draft:
    """Return the stored draft; without one, a draft of the current mapping."""
    stored = await context.services.database.read(mapping_drafts.find, context.account)
    if stored is not None:
        return Draft(stored.source, stored.based_on, fields, revision=stored.revision)
    current = await context.services.database.read(operations.of_version, context.account, None)
    text = await asyncio.to_thread(operations.text_of, current)
    draft = Draft(text, current.version, fields, revision=0)
    return await asyncio.to_thread(with_base, draft, current.version)


async def save_draft(context: PageContext, draft: Draft) -> Draft:
    """Save the draft, and return it with its revision, or as stale if another one was saved meanwhile."""
    saved = await context.services.database.write(
        mapping_drafts.save, context.account, draft.based_on, draft.text, ACTOR, context.now, draft.revision
    )
    return replace(draft, is_stale=True) if saved is None else replace(draft, revision=saved.revision)


def with_base(draft: Draft, version: int) -> Draft:
    """Return the draft based on another version. Updates ``based_on`` in the text if it is there."""
    draft = replace(draft, based_on=version)
    if "based_on" not in draft.text:  # parsing takes longer than the rest of the page
        return draft
    try:
        return replace(draft, text=yaml_editor.with_based_on(draft.text, version))
    except YamlError:  # the errors of the text are shown separately
        return draft
