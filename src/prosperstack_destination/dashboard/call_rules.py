"""Page of the call rules: a form for the email, the condition, the dropped traits and the consent of calls."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from starlette.responses import Response

from prosperstack_destination.admin.mapping import parse
from prosperstack_destination.admin.overview import total_of_day
from prosperstack_destination.dashboard.mapping_draft import Draft, current_draft, draft_bar, save_draft
from prosperstack_destination.dashboard.routing import Form, PageContext, PageRoute
from prosperstack_destination.dashboard.rule_form import (
    EXAMPLES,
    MAX_TRANSFORMS,
    RuleFields,
    normalise_lines,
    read_name,
    read_transform,
    transform_fields,
    transforms_from_form,
    written_name,
)
from prosperstack_destination.mapping import yaml_editor
from prosperstack_destination.mapping.call_rules import CallOptions, ConsentRule, EmailRule, WithoutConsent
from prosperstack_destination.mapping.mapping_file import InvalidMapping
from prosperstack_destination.mapping.transforms import TRANSFORMS, WITHOUT_ARGUMENT, Transform
from prosperstack_destination.mapping.yaml_reader import YamlError

#: Empty transform rows after those of the email.
EXTRA_ROWS: Final = 2
_Model = TypeVar("_Model", bound=BaseModel)
#: Key of a fault: the option, the part of it, and the index in its list.
_FAULT_KEY: Final = re.compile(r"(\w+)(?:\.(\w+))?(?:\[(\d+)\])?")


@dataclass(frozen=True, slots=True)
class CallRuleFields:
    """Fields of the form, as shown and as submitted. Lists have one entry per line."""

    #: Expressions of the email.
    emails: str = ""
    #: Name and argument of each transform of the email.
    clean: tuple[tuple[str, str], ...] = ()
    accept: str = ""
    drop: str = ""
    #: Categories of consent.
    categories: str = ""
    missing: str = WithoutConsent.REFUSE.value

    def options(self) -> dict[str, JsonValue]:
        """Return the options as in a mapping file, not yet validated; None for an option that is not used."""
        emails, drop, categories = _entries(self.emails), _entries(self.drop), _entries(self.categories)
        email: dict[str, JsonValue] = {}
        if len(emails) == 1:
            email["from"] = emails[0]
        elif emails:
            email["first_of"] = emails
        if self.clean:
            email["clean"] = [read_transform(name, argument) for name, argument in self.clean]
        consent: dict[str, JsonValue] = {"required_categories": categories}
        if self.missing != WithoutConsent.REFUSE:
            consent["missing"] = self.missing
        return {
            "email": email or None,
            "accept": read_name(self.accept) or None,
            "drop": drop or None,
            "consent": consent if categories else None,
        }


@dataclass(frozen=True, slots=True)
class _Form:
    """Form of the page, with its errors."""

    fields: CallRuleFields
    #: Errors by field; those of "" are about the file.
    errors: Mapping[str, str] = field(default_factory=dict)
    #: The draft changed after the form was shown.
    is_stale: bool = False


def call_rule_pages() -> list[PageRoute]:
    """Return the routes of the page."""
    return [PageRoute("/mapping/calls", _show), PageRoute("/mapping/calls", _save, "POST")]


def call_rule_fields(options: Mapping[str, Any]) -> CallRuleFields:
    """Return the options of a mapping file as fields; invalid ones are left out."""
    email, consent = _valid(EmailRule, options.get("email")), _valid(ConsentRule, options.get("consent"))
    accept, drop = options.get("accept"), options.get("drop")
    return CallRuleFields(
        emails=_lines(() if email is None else email.first_of or (email.from_,)),
        clean=() if email is None else transform_fields(email.clean),
        accept=written_name(accept) if isinstance(accept, str) else "",
        drop=_lines(drop if isinstance(drop, list) else ()),
        categories=_lines(() if consent is None else consent.required_categories),
        missing=(WithoutConsent.REFUSE if consent is None else consent.missing).value,
    )


async def _show(context: PageContext) -> Response:
    """Show the call rules of the stored draft, or of the current mapping."""
    draft = await current_draft(context, RuleFields())
    try:
        options = await asyncio.to_thread(yaml_editor.options_in, draft.text)
    except YamlError as error:
        return await _render(context, draft, _Form(CallRuleFields(), {"": f"{error}."}))
    written = {name: options[name] for name in CallOptions.model_fields if options.get(name) is not None}
    return await _render(context, draft, _Form(call_rule_fields(options), await _errors(context, written)))


async def _save(context: PageContext) -> Response:
    """Put the submitted call rules into the stored draft."""
    draft, fields = await current_draft(context, RuleFields()), _submitted(context.form)
    if (f"{draft.revision}", f"{draft.based_on}") != (context.form.get("revision"), context.form.get("based_on")):
        return await _render(context, draft, _Form(fields, is_stale=True), 409)
    try:
        before = call_rule_fields(await asyncio.to_thread(yaml_editor.options_in, draft.text)).options()
        changed = {name: value for name, value in fields.options().items() if value != before[name]}
        errors = await _errors(context, {name: value for name, value in changed.items() if value is not None})
        if errors:
            return await _render(context, draft, _Form(fields, errors), 422)
        text = await asyncio.to_thread(_with_options, draft.text, changed)
    except YamlError as error:
        return await _render(context, draft, _Form(fields, {"": f"{error}."}), 422)
    if not changed:
        return context.redirect_home("mapping/calls", flash="The call rules are unchanged.")
    saved = await save_draft(context, Draft(text, draft.based_on, RuleFields(), revision=draft.revision))
    if saved.is_stale:
        return await _render(context, await current_draft(context, RuleFields()), _Form(fields, is_stale=True), 409)
    return context.redirect_home("mapping/calls", flash="The call rules are in the draft. Review and apply it.")


async def _render(context: PageContext, draft: Draft, form: _Form, status: int = 200) -> Response:
    rows = min(len(form.fields.clean) + EXTRA_ROWS, MAX_TRANSFORMS)
    return context.page(
        "mapping/calls.html",
        title="Call rules",
        status=status,
        bar=await draft_bar(context),
        draft=draft,
        form=form,
        day=await context.services.database.read(total_of_day, context.account.id, context.now),
        clean=[*form.fields.clean, *[("", "")] * rows][:rows],
        transforms=[(each, Transform.model_fields[each].description or "") for each in TRANSFORMS],
        without_argument=sorted(WITHOUT_ARGUMENT),
        examples=EXAMPLES,
        missing=WithoutConsent,
    )


def _submitted(form: Form) -> CallRuleFields:
    missing = form.get("missing", "")
    return CallRuleFields(
        emails=normalise_lines(form.get("emails", "")),
        clean=transforms_from_form(form),
        accept=form.get("accept", "").strip(),
        drop=normalise_lines(form.get("drop", "")),
        categories=normalise_lines(form.get("categories", "")),
        missing=missing if missing in list(WithoutConsent) else WithoutConsent.REFUSE.value,
    )


def _with_options(text: str, options: Mapping[str, JsonValue]) -> str:
    for name, value in options.items():
        text = yaml_editor.with_option(text, name, value)
    return text


async def _errors(context: PageContext, options: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the errors of options by field."""
    errors: dict[str, str] = {}
    try:
        await parse(context.services, context.account, dict(options))
    except InvalidMapping as invalid:
        for fault in invalid.faults:
            name, entry = _place(fault.key)
            errors[name] = (
                f"{errors[name]} {entry}{fault.message}." if name in errors else f"{entry}{fault.message}."
            )
    return errors


def _place(key: str) -> tuple[str, str]:
    """Return the field of a fault, and the number of the entry in words."""
    found = _FAULT_KEY.match(key)
    if found is None:
        return "", ""
    option, part, index = found.groups()
    entry = "" if index is None else f"Entry {int(index) + 1}: "
    if option == "email" and part in ("clean", *TRANSFORMS):
        return "clean", entry
    return {"email": "emails", "consent": "categories"}.get(option, option), entry


def _valid(model: type[_Model], value: object) -> _Model | None:
    try:
        return None if value is None else model.model_validate(value)
    except ValidationError:
        return None


def _lines(entries: Any) -> str:
    return "\n".join(written_name(each) for each in entries if isinstance(each, str))


def _entries(text: str) -> list[JsonValue]:
    return [read_name(line) for line in text.split("\n") if line.strip()]
