"""Mappings as people have them in other tools, written as files."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.mapping_file import KnownProperties, read_mapping

TEXT, NUMBER, BOOLEAN, DATE = PropertyType.TEXT, PropertyType.NUMBER, PropertyType.BOOLEAN, PropertyType.DATE


@dataclass(frozen=True)
class Case:
    """A mapping, somebody's traits, and what comes of them."""

    name: str
    types: dict[str, PropertyType]
    mapping: str
    traits: dict[str, JsonValue]
    values: dict[str, Any]


CASES = [
    Case(
        "a CRM with nested companies and cents",
        {"company": TEXT, "employees": NUMBER, "mrr": NUMBER, "owner": TEXT},
        """
        rules:
          - property: company
            from: traits.company.name
            trim: true
            max_length: 12
          - property: employees
            from: traits.company.employee_count
          - property: mrr
            from: traits.mrr_in_cents
            scale: 0.01
          - property: owner
            first_of: [traits.owner.full_name, traits.owner.email]
            lower: true
        """,
        {
            "company": {"name": "  Acme Corporation ", "employee_count": "250"},
            "mrr_in_cents": 129_900,
            "owner": {"full_name": "", "email": "Ann@Acme.example"},
        },
        {"company": "Acme Corpora", "employees": 250, "mrr": 1299, "owner": "ann@acme.example"},
    ),
    Case(
        "a billing system with plan codes and Unix times",
        {"plan": TEXT, "renews": DATE, "trial": BOOLEAN, "seats": NUMBER},
        """
        rules:
          - property: plan
            from: traits.plan_id
            values: {basic-usd-monthly: Basic, pro-usd-yearly: Pro}
            fallback: Custom
          - {property: renews, from: traits.next_billing_at}
          - {property: trial, from: "traits.status == 'in_trial'"}
          - {property: seats, from: "sum(traits.items[?type == 'seat'].quantity)"}
        """,
        {
            "plan_id": "pro-usd-yearly",
            "next_billing_at": 1_767_225_600,
            "status": "in_trial",
            "items": [
                {"type": "seat", "quantity": 3},
                {"type": "addon", "quantity": 9},
                {"type": "seat", "quantity": 2},
            ],
        },
        {"plan": "Pro", "renews": "2026-01-01", "trial": True, "seats": 5},
    ),
    Case(
        "a help desk with tags and ticket lists",
        {"open_tickets": NUMBER, "tags": TEXT, "last_ticket": DATE, "angry": BOOLEAN},
        """
        rules:
          - {property: open_tickets, from: "length(traits.tickets[?status != 'closed'])"}
          - {property: tags, from: "sort(traits.tags)", join: "; "}
          - {property: last_ticket, from: "max(traits.tickets[].created_at)"}
          - {property: angry, from: "contains(traits.tags, 'escalated')"}
        """,
        {
            "tickets": [
                {"status": "open", "created_at": "2026-03-01T10:00:00Z"},
                {"status": "closed", "created_at": "2026-02-01T10:00:00Z"},
            ],
            "tags": ["vip", "escalated"],
        },
        {"open_tickets": 1, "tags": "escalated; vip", "last_ticket": "2026-03-01", "angry": True},
    ),
    Case(
        "a shop with regional dates and money as text",
        {"first_order": DATE, "spent": NUMBER, "favourite": TEXT, "orders": NUMBER},
        """
        rules:
          - property: first_order
            from: traits.firstOrderDate
            date_format: "%d.%m.%Y"
          - property: spent
            from: traits.total_spent
            round: 0
          - property: favourite
            from: max_by(traits.categories, &bought).name
            title: true
          - property: orders
            from: traits.order_ids
            count: true
        """,
        {
            "firstOrderDate": "24.12.2025",
            "total_spent": "1234.50",
            "categories": [{"name": "garden tools", "bought": 2}, {"name": "kids' toys", "bought": 7}],
            "order_ids": ["a", "b", "c"],
        },
        {"first_order": "2025-12-24", "spent": 1235, "favourite": "Kids' Toys", "orders": 3},
    ),
    Case(
        "an email tool with consents and numbers for booleans",
        {"subscribed": BOOLEAN, "bounced": BOOLEAN, "language": TEXT, "score": NUMBER},
        """
        rules:
          - property: subscribed
            from: traits.email_opt_in
            lower: true
            values: {yes: true, no: false, y: true, n: false}
          - {property: bounced, trait: Hard bounce}
          - {property: language, from: traits.locale, max_length: 2, upper: true, default: EN}
          - {property: score, from: "to_number(traits.lead_score)", default: 0}
        """,
        {"email_opt_in": "Yes", "Hard bounce": 0, "lead_score": "not yet"},
        {"subscribed": True, "bounced": False, "language": "EN", "score": 0},
    ),
    Case(
        "product usage with audiences and ids",
        {"power_user": BOOLEAN, "account_id": TEXT, "features": NUMBER, "last_seen": DATE},
        """
        rules:
          - {property: power_user, from: "contains(audiences, 'power_users')"}
          - {property: account_id, from: userId, when: "starts_with(userId, 'acc_')"}
          - {property: features, from: "length(keys(traits.features))", when: traits.features}
          - property: last_seen
            from: traits.last_seen_at
            timezone: America/Los_Angeles
        """,
        {"power_users": True, "features": {"a": 1, "b": 2}, "last_seen_at": "2026-01-01T05:00:00Z"},
        {"power_user": True, "account_id": "acc_7", "features": 2, "last_seen": "2025-12-31"},
    ),
    Case(
        "names that only look different",
        {"number_of_contacts": NUMBER, "last_contacted": DATE, "plan": TEXT},
        """
        forgiving_names: true
        rules:
          - {property: plan, ignore: true}
        """,
        {"NumberOfContacts": 3, "LAST CONTACTED": "2026-02-03", "Plan": "x"},
        {"number_of_contacts": 3, "last_contacted": "2026-02-03"},
    ),
    Case(
        "a survey with scores and free text",
        {"nps": NUMBER, "nps_group": TEXT, "comment": TEXT},
        """
        rules:
          - {property: nps, from: "traits.surveys[-1].score"}
          - property: nps_group
            from: >-
              traits.surveys[-1].score >= `9` && 'promoter'
              || traits.surveys[-1].score >= `7` && 'passive' || 'detractor'
            when: traits.surveys
          - {property: comment, from: "traits.surveys[-1].comment", clean: [trim, {max_length: 5}]}
        """,
        {"surveys": [{"score": 10}, {"score": 8, "comment": "  Lovely  "}]},
        {"nps": 8, "nps_group": "passive", "comment": "Lovel"},
    ),
    Case(
        "app stores with products as keys and milliseconds",
        {"store": TEXT, "expires": DATE, "will_renew": BOOLEAN, "price": NUMBER},
        """
        rules:
          - {property: store, from: traits.store, values: {APP_STORE: Apple, PLAY_STORE: Google}}
          - {property: expires, from: 'traits.entitlements."pro.monthly".expires_at_ms'}
          - {property: will_renew, from: "!(traits.unsubscribe_detected_at)"}
          - {property: price, from: traits.price_micros, scale: 0.000001, round: 2}
        """,
        {
            "store": "PLAY_STORE",
            "entitlements": {"pro.monthly": {"expires_at_ms": 1_767_225_600_000}},
            "price_micros": 9_990_000,
        },
        {"store": "Google", "expires": "2026-01-01", "will_renew": True, "price": 9.99},
    ),
    Case(
        "a lead form with full names and phone fields",
        {"first_name": TEXT, "country": TEXT, "phone": TEXT, "industry": TEXT},
        """
        rules:
          - {property: first_name, first_of: [traits.firstName, traits.first_name, traits.name], title: true}
          - {property: country, first_of: [traits.address.country, traits.ip_country], upper: true}
          - {property: phone, from: "traits.phones[?primary] | [0].number || traits.phone"}
          - {property: industry, from: traits.industry, default: Unknown}
        """,
        {
            "first_name": "mary-jane",
            "ip_country": "de",
            "phones": [{"number": "1"}, {"number": 491, "primary": True}],
        },
        {"first_name": "Mary-Jane", "country": "DE", "phone": "491", "industry": "Unknown"},
    ),
    Case(
        "a warehouse sync with flat upper-case columns",
        {"ltv": NUMBER, "churn_risk": TEXT, "signed_up": DATE, "is_employee": BOOLEAN},
        """
        rules:
          - {property: ltv, from: traits.LTV_USD}
          - property: churn_risk
            from: traits.CHURN_SCORE > `0.7` && 'high' || traits.CHURN_SCORE > `0.3` && 'medium' || 'low'
            when: traits.CHURN_SCORE
          - {property: signed_up, from: traits.SIGNUP_TS, date_format: "%Y-%m-%d %H:%M:%S.%f"}
          - {property: is_employee, from: "ends_with(traits.EMAIL, '@example.com')"}
        """,
        {"LTV_USD": 12.5, "CHURN_SCORE": 0.5, "SIGNUP_TS": "2024-02-29 23:59:59.999", "EMAIL": "a@example.com"},
        {"ltv": 12.5, "churn_risk": "medium", "signed_up": "2024-02-29", "is_employee": True},
    ),
    Case(
        "a membership with nothing to say yet",
        {"tier": TEXT, "points": NUMBER, "perks": TEXT},
        """
        rules:
          - {property: tier, from: traits.membership.tier, default: none}
          - {property: points, from: traits.membership.points}
          - {property: perks, from: "traits.membership.perks[*].name", join: true}
        """,
        {"membership": {"perks": []}},
        {"tier": "none", "points": None, "perks": None},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_real_mapping(case: Case) -> None:
    """A mapping as other tools have it can be written in a file, and does what it says."""
    catalog = Catalog(Property(key, key.replace("_", " ").capitalize(), kind) for key, kind in case.types.items())
    read = read_mapping(case.mapping, KnownProperties(catalog))
    projection = CompiledMapping(catalog, read.rules, audiences={"power_users"}).project(
        MappingInput(case.traits, "acc_7")
    )

    assert read.unknown == ()
    assert projection.problems == ()
    assert projection.values() == case.values
