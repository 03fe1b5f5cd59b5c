"""What schemathesis cannot know of this API: which problems are of the state and not of the data,
who may do what, and what would spoil the rest of the run."""

import os

import requests
import schemathesis

CALLER = os.environ["CONTRACT_CALLER"]
STAFF = CALLER == "staff"

# Problems of requests that the document allows: whether they can be done depends on what is there,
# on who asks, or on several values together.
OF_THE_STATE = {
    # What is there.
    "invalid-credentials", "not-author", "not-found", "email-taken", "handle-taken", "account-not-active", "approval-not-needed",
    "first-admin", "rebuild-over", "rebuild-running", "not-sealed", "cannot-follow-oneself",
    "version-mismatch", "idempotency-key-reused", "position-beyond-end",
    # What only this instance can have made; what it looks like is all that a pattern tells.
    "invalid-cursor", "invalid-consistency-token", "position-unknown",
    # Two values that do not go together.
    "backwards-range",
}
# Who asks. Staff are refused nothing for that: the run would not get anywhere.
OF_THE_STATE |= {
    "newcomer": {"authentication-required"},
    "person": {"permission-required"},
    "leaver": set(),
    "staff": set(),
}[CALLER]
# The same of single fields, below `validation-failed`.
OF_THE_STATE_IN_FIELDS = {
    "reserved",  # a handle of the operator's
    "unknown",  # a time zone that IANA does not have
    "not-found",  # a comment that is not below this post
    "in-future",  # a year that is not over
    "not-for-sport",  # a cricketer's role in another sport
}


def problem(response):
    if "problem+json" not in response.headers.get("content-type", [""])[0]:
        return {}
    return response.json()


@schemathesis.check
def schema_valid_is_taken(ctx, response, case):
    """What the document allows is refused only for a reason that no document can know."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code < 400 or response.status_code == 405:
        return
    told = problem(response)
    fields = told.get("errors", [])
    of_the_state = told.get("code") in OF_THE_STATE or (
        told.get("code") == "validation-failed"
        and all(
            field["code"] in OF_THE_STATE_IN_FIELDS
            or (field["code"], field.get("pointer")) == ("required", "/cricket_role")
            for field in fields
        )
    )
    assert of_the_state, f"the document allows it, and it is refused: {told.get('code')} {fields}"


@schemathesis.check
def nobody_does_more_than_they_may(ctx, response, case):
    """Whoever has not got what an operation demands is refused, whatever they send."""
    ways = case.operation.definition.raw.get("security", [])
    if not ways or {} in ways or STAFF:
        return
    demanded = [permission for way in ways for permission in way["access_token"]]
    if CALLER == "newcomer" or demanded:
        assert response.status_code in (400, 401, 403, 405), (
            f"a {CALLER} is let in where {demanded or 'an account'} is demanded"
        )


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    """schemathesis reads `\\p{…}` as a few blocks of characters, in answers too. What these patterns
    take is shown by the domain's tests of properties; here their values come from a dictionary."""
    for schema in raw_schema["components"]["schemas"].values():
        if r"\p{" in schema.get("pattern", ""):
            del schema["pattern"]


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """The organiser does not demote themselves in the middle of the run, but a colleague."""
    operation = case.operation.definition.raw.get("operationId")
    if operation == "revoke_permission" and STAFF:
        if case.path_parameters.get("id") == os.environ["CONTRACT_STAFF_ID"]:
            case.path_parameters["id"] = os.environ["CONTRACT_COLLEAGUE_ID"]


@schemathesis.hook
def after_call(ctx, case, response):
    """A read model that stays paused would keep every later read waiting."""
    operation = case.operation.definition.raw.get("operationId")
    if operation == "pause_projection" and response.status_code == 200:
        address = response.request.url.removesuffix("/pause") + "/resume"
        resumed = requests.put(
            address, headers={"Authorization": response.request.headers["Authorization"]}, timeout=30
        )
        resumed.raise_for_status()
