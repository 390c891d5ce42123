"""Cohorts, consents, dataset versions and uploads: the holder's own, its stewards' to read and publish."""

from __future__ import annotations

from app.auth.policy.deciding import (
    UNSEEN,
    YES,
    Decision,
    own_only,
    own_or_steward,
    owns,
    refusing,
    seen,
    stewards,
)
from app.auth.policy.facts import CITED, PUBLISHED, CohortFacts, UploadFacts, VersionFacts
from app.auth.policy.roles import Actor


def may_register_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """An institution registers under its own name."""
    return own_only(actor, facts.institution_id)


def may_read_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """The holder and its stewards; the public face of a cohort is the catalogue."""
    return own_or_steward(actor, facts.institution_id)


def may_change_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """Edit a cohort, add datasets and versions: the holder alone."""
    return own_only(actor, facts.institution_id)


def may_change_consents(actor: Actor, facts: CohortFacts) -> Decision:
    """Load the consent register: the holder alone, for consent is given to the holder."""
    return own_only(actor, facts.institution_id)


def may_take_withdrawal(actor: Actor, facts: CohortFacts) -> Decision:
    """Record that a participant withdrew: the holder alone, who can tell that it is them."""
    return own_only(actor, facts.institution_id)


def may_read_receipt(actor: Actor, facts: CohortFacts) -> Decision:
    """What a withdrawal did, whole: the holder of the cohort and its stewards. It names no one."""
    return own_or_steward(actor, facts.institution_id)


def may_read_version(actor: Actor, facts: VersionFacts) -> Decision:
    """The dictionary and report of a version: the holder and its stewards."""
    return own_or_steward(actor, facts.institution_id, facts.also)


def may_change_version(actor: Actor, facts: VersionFacts) -> Decision:
    """Set the dictionary, upload into and submit a version: the holder alone."""
    return own_only(actor, facts.institution_id)


def may_publish_version(actor: Actor, facts: VersionFacts) -> Decision:
    """A steward publishes or returns: whoever made a version does not wave it through."""
    if stewards(actor, facts.institution_id):
        return YES
    return seen("steward_only") if owns(actor, facts.institution_id) else UNSEEN


def may_find_version(actor: Actor, facts: VersionFacts) -> Decision:
    """What the catalogue shows: published versions to everyone, others to the holder and its stewards."""
    return YES if facts.state in PUBLISHED else own_or_steward(actor, facts.institution_id, facts.also)


def may_upload(actor: Actor, facts: UploadFacts) -> Decision:
    """Create, continue, read and end an upload: the holder alone; of returned data whoever returns them."""
    if facts.returned_by is not None and actor.subject == facts.returned_by:
        return YES
    return own_only(actor, facts.institution_id)


def may_cite_version(actor: Actor, facts: VersionFacts) -> Decision:
    """Read how a version is cited: whoever may have worked with it, so also when a newer one has taken its place."""
    return YES if facts.state in CITED else own_or_steward(actor, facts.institution_id, facts.also)


must_cite_version = refusing("dataset version", may_cite_version)
must_register_cohort = refusing("institution", may_register_cohort)
must_read_cohort = refusing("cohort", may_read_cohort)
must_change_cohort = refusing("cohort", may_change_cohort)
must_read_dataset = refusing("dataset", may_read_cohort)
must_change_dataset = refusing("dataset", may_change_cohort)
must_change_consents = refusing("cohort", may_change_consents)
must_read_receipt = refusing("withdrawal", may_read_receipt)
must_take_withdrawal = refusing("cohort", may_take_withdrawal)
must_read_withdrawal = refusing("withdrawal", may_take_withdrawal)
must_read_version = refusing("dataset version", may_read_version)
must_change_version = refusing("dataset version", may_change_version)
must_publish_version = refusing("dataset version", may_publish_version)
must_find_version = refusing("dataset version", may_find_version)
must_upload = refusing("upload", may_upload)
