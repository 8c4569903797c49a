"""The ledger: actions and decisions with their authors, and the check of the chain of hashes."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import seen_subjects
from raymlops.console.sources import Sources
from raymlops.errors import LedgerBroken, NotFoundError

__all__ = ["VERIFY_S", "entry_page", "ledger_page", "verify_page"]

_ROWS = 50
VERIFY_S = 30.0
"""A check reads the whole ledger, which takes longer than a page may."""


def ledger_page(sources: Sources, request: PageRequest) -> Page:
    """Entries, newest first, by subject, action and text."""
    subject, action, text = (request.text(name) or None for name in ("subject", "action", "text"))
    before = request.number("before")
    sight, browser = request.sight, sources.metadata.browser
    about: str | Sequence[str] | None = subject
    if not sight.everything:
        wanted = sight.targets if subject is None else [subject]
        about = request.ask("the metadata actor", seen_subjects, sources, sight, wanted).need()
    found = request.ask("the metadata actor", browser.entry_page, about, action, text, before, _ROWS).need()
    older = (
        None if found.before is None else url("ledger", subject=subject, action=action, text=text, before=found.before)
    )
    chosen = {"subject": subject or "", "action": action or "", "text": text or ""}
    return Page("ledger/index", "Ledger", {"entries": found.entries, "older": older, "chosen": chosen})


def verify_page(sources: Sources, request: PageRequest) -> Page:
    """Whether every entry follows from the one before it."""
    request.ask.extend(VERIFY_S)
    try:
        count, broken = request.ask("the metadata actor", sources.metadata.ledger.verify_ledger).need(), ""
    except LedgerBroken as error:
        count, broken = 0, str(error)
    return Page("ledger/verify", "Ledger: check", {"count": count, "broken": broken})


def entry_page(sources: Sources, request: PageRequest) -> Page:
    """One entry, whole."""
    sequence = int(request.parts[0])
    asked = request.ask("the metadata actor", sources.metadata.browser.entry_page, None, None, None, sequence + 1, 1)
    found = asked.need().entries
    seen = request.ask(
        "the metadata actor", seen_subjects, sources, request.sight, [entry.subject for entry in found]
    ).need()
    if not seen or found[0].sequence != sequence:
        raise NotFoundError(f"there is no ledger entry {sequence}")
    return Page("ledger/entry", f"Ledger entry {sequence}", {"entry": found[0]})
