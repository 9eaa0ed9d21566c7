"""All mutations, at least two for each of the seven promises of DESIGN section 1."""

from tests.mutations import access, files, keeping_up

MUTATIONS = (
    *files.NO_DOUBT,
    *files.ALWAYS_WHOLE,
    *keeping_up.ACCEPTED,
    *keeping_up.EQUALITY,
    *files.NOTHING_OUTSIDE,
    *access.ACCESS,
    *keeping_up.ONE_BAD_KEY,
    *keeping_up.COST,
)
