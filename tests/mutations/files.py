"""Breaks of what is promised of files: promises 1, 2 and 5 of DESIGN section 1."""

from tests.mutations.mutation import Mutation

ENGINE = "services/engine/"
STORAGE = "services/storage/"
SYNC = "engine/test_sync.py::"
SERVICE = "engine/test_service.py::"

NO_DOUBT = (
    Mutation(
        1,
        "a 403 is read as a 404",
        f"{STORAGE}s3/refusals.py",
        "    if status == 404:\n        return _missing(refusal, text, key)\n",
        "    if status in (403, 404):\n        return ObjectMissing(text)\n",
        (
            "unit/test_s3_client.py::test_every_wrong_answer_has_its_error",
            "unit/test_s3_client.py::test_a_refused_head_is_asked_again_for_the_reason",
        ),
    ),
    Mutation(
        1,
        "a 404 that is not S3's own word counts",
        f"{STORAGE}s3/refusals.py",
        '    if refusal.code == "NoSuchKey":\n',
        '    if refusal.code != "NoSuchBucket":\n',
        ("unit/test_s3_client.py::test_every_wrong_answer_has_its_error",),
    ),
    Mutation(
        1,
        "a refusal of the engine's question counts as missing",
        f"{ENGINE}fetch.py",
        "        if isinstance(error, ObjectMissing):\n",
        "        if isinstance(error, ObjectMissing) or not error.retryable:\n",
        (f"{SYNC}test_a_delete_that_s3_answers_with_403_keeps_the_file",),
    ),
    Mutation(
        1,
        "an event's word for a delete is trusted",
        f"{ENGINE}transfer_loop.py",
        "        fetch = Fetch(task, self)\n",
        '        if task.mark is not None and "Removed" in task.mark.reason:\n'
        "            self._results.append(Result(task, Found.MISSING))\n"
        "            return\n"
        "        fetch = Fetch(task, self)\n",
        (f"{SERVICE}test_a_lying_delete_event_deletes_nothing",),
    ),
    Mutation(
        1,
        "a listing that failed counts as complete",
        f"{ENGINE}scan.py",
        "                if not error.retryable or failures >= self.options.attempts:\n"
        "                    raise\n",
        "                if not error.retryable or failures >= self.options.attempts:\n"
        "                    return\n",
        (f"{SYNC}test_a_listing_that_keeps_failing_deletes_nothing_and_fails_the_run",),
    ),
    Mutation(
        1,
        "a truncated page without a token is the last one",
        f"{STORAGE}s3/pages.py",
        "    if not token:\n        raise ListingBroken(",
        "    if not token:\n        return None\n    if not token:\n        raise ListingBroken(",
        ("unit/test_listing.py::test_a_broken_page_is_never_believed",),
    ),
    Mutation(
        1,
        "entries that the parser does not see are believed",
        f"{STORAGE}s3/pages.py",
        "        if others or stand_ins != 1:\n",
        "        if others:\n",
        ("unit/test_usual_pages.py::test_what_is_unusual_is_left_to_the_parser",),
    ),
    Mutation(
        1,
        "what is between the entries of a page is overlooked",
        f"{STORAGE}s3/usual_entries.py",
        "    if len(pieces) == 1 or any(pieces[::stride]):",
        "    if len(pieces) == 1:",
        ("unit/test_usual_pages.py",),
    ),
    Mutation(
        1,
        "planned deletes are not confirmed",
        f"{ENGINE}reconcile.py",
        "        self._workshop.submit_bulk(self._tally, held, self._interrupted, drift)\n",
        "        gone = [Result(task, Found.MISSING) for task in held]\n"
        "        self._workshop.submit_results(self._tally, gone, self._interrupted)\n",
        (
            f"{SYNC}test_a_key_the_listing_forgot_is_kept_because_s3_still_has_it",
            f"{SYNC}test_a_delete_that_s3_answers_with_403_keeps_the_file",
        ),
    ),
    Mutation(
        1,
        "no plan is held, however large",
        f"{ENGINE}reconcile.py",
        "            return RunStatus.HELD\n        status = self._apply()\n",
        "        status = self._apply()\n",
        (f"{SYNC}test_too_many_deletes_are_held_and_applied_when_approved",),
    ),
)

ALWAYS_WHOLE = (
    Mutation(
        2,
        "a short body is taken for whole",
        f"{ENGINE}fetch.py",
        "        if length != self.head.size:\n",
        "        if length > self.head.size:\n",
        ("engine/test_failures.py::test_a_body_of_another_length_than_announced_is_refused",),
    ),
    Mutation(
        2,
        "a digest that does not match is accepted",
        f"{ENGINE}integrity.py",
        "    if not matches(expectation, digest):\n        raise ChecksumMismatch(\n",
        "    if False:\n        raise ChecksumMismatch(\n",
        (f"{SYNC}test_a_lasting_mismatch_keeps_the_old_file_and_fails_the_key_alone",),
    ),
    Mutation(
        2,
        "ranges are not pinned to one version",
        f"{ENGINE}ranges.py",
        "            if_match=self._head.etag,\n",
        "",
        (f"{SYNC}test_a_large_object_comes_in_ranges_and_is_proved",),
    ),
    Mutation(
        2,
        "files get their names before they are durable",
        f"{STORAGE}publishing.py",
        "self._durability.of_files(self._staging, [batch[i].staged for i in good])",
        "[None] * len(good)",
        (
            "engine/mirror/test_durability.py::test_a_few_files_are_synced_one_by_one",
            "engine/mirror/test_durability.py::test_many_files_share_two_rounds",
        ),
    ),
    Mutation(
        2,
        "folders are not made durable",
        f"{STORAGE}publishing.py",
        "        failed = self._durability.of_folders(self._directories)\n",
        "        failed: dict[str, MirrorError] = {}\n",
        ("engine/mirror/test_durability.py::test_a_few_files_are_synced_one_by_one",),
    ),
    Mutation(
        2,
        "the old file is unlinked before the new one has its name",
        f"{STORAGE}publishing.py",
        "            self._calls.replace(*source, *target)\n",
        "            os.unlink(name, dir_fd=target.folder)\n"
        "            self._calls.rename_new(*source, *target)\n",
        (
            "engine/mirror/test_publishing.py::test_a_reader_sees_the_old_or_the_new_file_always",
            "engine/mirror/test_staging.py::test_a_rename_that_fails_leaves_everything_as_it_was",
        ),
    ),
    Mutation(
        2,
        "the new body is written through a hard link",
        f"{STORAGE}publishing.py",
        "            self._calls.replace(*source, *target)\n",
        "            old = os.open(name, os.O_WRONLY | os.O_TRUNC, dir_fd=target.folder)\n"
        "            self._calls.write_at(old, item.staged.read_at(0, item.staged.size), 0)\n"
        "            os.close(old)\n",
        ("engine/mirror/test_publishing.py::test_a_hard_link_is_broken_and_not_written_through",),
    ),
    Mutation(
        2,
        "the staging files of a live process are swept",
        f"{STORAGE}staging.py",
        "        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):\n            return None\n",
        "        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):\n            return -1\n",
        ("engine/mirror/test_staging.py",),
    ),
    Mutation(
        2,
        "a file is adopted by its size",
        f"{ENGINE}proof.py",
        "    return same and matches(expectation, digest)\n",
        "    return same\n",
        (f"{SYNC}test_files_that_were_there_before_are_adopted_or_replaced_through_trash",),
    ),
)

NOTHING_OUTSIDE = (
    Mutation(
        5,
        "links among the folders are followed",
        f"{STORAGE}directories.py",
        "_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC\n",
        ("engine/mirror/test_hostile.py::test_a_link_among_the_folders_is_a_conflict",),
    ),
    Mutation(
        5,
        "`..` stays as it is",
        f"{STORAGE}paths.py",
        '_DOTS = {"": _ESCAPE, ".": "%FF%2E", "..": "%FF%2E%2E"}\n',
        '_DOTS = {"": _ESCAPE, ".": "%FF%2E"}\n',
        ("unit/test_paths.py",),
    ),
    Mutation(
        5,
        "events of another bucket are taken",
        "services/events/inbox.py",
        "        if bucket != self._bucket:\n",
        "        if not bucket:\n",
        ("unit/test_inbox.py",),
    ),
    Mutation(
        5,
        "redirects are followed",
        f"{STORAGE}s3/loop.py",
        "        easy.setopt(pycurl.FOLLOWLOCATION, 0)\n",
        "        easy.setopt(pycurl.FOLLOWLOCATION, 1)\n",
        ("unit/test_s3_client.py::test_a_redirect_is_not_followed_and_names_the_region",),
    ),
    Mutation(
        5,
        "secrets are logged",
        "utils/logger.py",
        "    _state.redaction = _Redaction(secrets)\n",
        "    _state.redaction = _Redaction()\n",
        ("unit/test_logger.py",),
    ),
    Mutation(
        5,
        "what is at a path is read through a link",
        f"{STORAGE}looking.py",
        "        found = os.stat(name, dir_fd=folder, follow_symlinks=False)\n",
        "        found = os.stat(name, dir_fd=folder)\n",
        ("engine/mirror/test_looking.py::test_a_link_is_no_file_whatever_it_points_to",),
    ),
    Mutation(
        5,
        "a file is called unchanged through a link",
        f"{STORAGE}looking.py",
        "            found = os.stat(name, dir_fd=handle, follow_symlinks=False)\n",
        "            found = os.stat(name, dir_fd=handle)\n",
        ("engine/mirror/test_looking.py::test_files_that_are_as_they_were",),
    ),
)
