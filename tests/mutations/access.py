"""Breaks of the fifth promise at the door: who is let in, and to what."""

from tests.mutations.mutation import Mutation

ROLES = "http/test_roles.py::"
PAGES = "http/test_dashboard.py::"

ACCESS = (
    Mutation(
        5,
        "a key's role is not asked for",
        "api/security.py",
        "    if right not in grant.role.rights:\n",
        "    if False:\n",
        (f"{ROLES}test_a_role_reaches_its_routes_and_no_others",),
    ),
    Mutation(
        5,
        "a cookie is enough to change something",
        "api/security.py",
        "        if key is None or caller.method in SAFE_METHODS:\n",
        "        if True:\n",
        (f"{PAGES}test_a_cookie_alone_changes_nothing",),
    ),
    Mutation(
        5,
        "a file of keys that is empty opens the service",
        "config/watched.py",
        '    if not entries:\n        raise ValueError("holds no key")\n',
        "",
        (f"{ROLES}test_a_bad_keys_file_lets_nobody_in_and_nobody_out",),
    ),
    Mutation(
        5,
        "what is for who has keys is open without any",
        "api/security.py",
        "        if is_open and policy.has_keys:\n",
        "        if is_open:\n",
        (f"{ROLES}test_with_no_keys_at_all_a_remote_client_reaches_ping_and_liveness_only",),
    ),
    Mutation(
        5,
        "a cookie outlives its key",
        "api/sessions.py",
        "        return URLSafeTimedSerializer(self._secret + key.digest, salt",
        "        return URLSafeTimedSerializer(self._secret, salt",
        ("unit/test_sessions.py::test_it_ends_with_its_key",),
    ),
)
