"""Breaks of what is promised of events, equality, bad keys and cost: promises 3, 4, 6 and 7."""

from tests.mutations.mutation import Mutation

ENGINE = "services/engine/"
STORAGE = "services/storage/"
SYNC = "engine/test_sync.py::"
SERVICE = "engine/test_service.py::"

ACCEPTED = (
    Mutation(
        3,
        "the answer is given before the journal has the keys",
        "controllers/intake.py",
        "        self._journal.submit([_entry(notice, told)])\n",
        "        told(None)\n        self._journal.submit([_entry(notice, print)])\n",
        ("http/test_notification.py::test_a_mark_is_in_the_ledger_before_the_answer",),
    ),
    Mutation(
        3,
        "a mark does not wait for the disk",
        f"{STORAGE}ledger/dirty.py",
        "        with self._database.write(durable=bool(notes)) as connection:\n",
        "        with self._database.write() as connection:\n",
        (
            "engine/test_ledger_sqlite.py::TestDisk::"
            "test_marks_reach_the_disk_before_the_answer_and_settlements_later",
        ),
    ),
    Mutation(
        3,
        "a mark newer than the look is cleared",
        f"{STORAGE}ledger/dirty.py",
        '        same = (dirty.c.key == bindparam("old_key")) & '
        '(dirty.c.marks == bindparam("old_marks"))\n',
        '        same = (dirty.c.key == bindparam("old_key")) & '
        '(dirty.c.marks >= bindparam("old_marks"))\n',
        (
            "engine/test_ledger.py::TestSqliteLedger::"
            "test_a_newer_mark_is_neither_cleared_nor_deferred",
        ),
    ),
    Mutation(
        3,
        "what a listing shows clears a mark",
        f"{ENGINE}tasks.py",
        "ANSWERS = frozenset({Found.STAGED,",
        "ANSWERS = frozenset({Found.ADOPTED, Found.FORGOTTEN, Found.STAGED,",
        ("engine/test_older_listings.py",),
    ),
    Mutation(
        3,
        "a key that failed loses its mark",
        f"{ENGINE}settling.py",
        "            group.deferred.append("
        "outcomes.deferred(task.mark, error, group.now, random.random()))\n",
        "            group.cleared.append(task.mark)\n",
        (f"{SERVICE}test_a_key_that_fails_waits_for_its_next_try_and_keeps_its_mark",),
    ),
)

EQUALITY = (
    Mutation(
        4,
        "the order of a listing is assumed",
        f"{ENGINE}scan.py",
        "            if not are_in_order(legal, last):\n                raise _Disorder\n",
        "",
        (f"{SYNC}test_an_unordered_listing_is_sorted_first",),
    ),
    Mutation(
        4,
        "in sync although keys are pending",
        "controllers/equality.py",
        "        (Doubt.PENDING, totals.pending > 0),\n",
        "",
        ("unit/test_equality.py::test_pending_and_failed_keys_speak_against_it",),
    ),
    Mutation(
        4,
        "change is seen by size only",
        f"{ENGINE}planner.py",
        "    return row.etag == listed.etag and row.size == listed.size\n",
        "    return row.size == listed.size\n",
        (f"{SYNC}test_changes_same_size_changes_and_deletes_follow",),
    ),
    Mutation(
        4,
        "a new version of a file that is as it was is passed over",
        f"{STORAGE}ledger/objects.py",
        "            if values[5] is not None and values[:4] in versions\n",
        "            if values[5] is not None\n",
        (f"{SYNC}test_changes_same_size_changes_and_deletes_follow", "engine/test_scan.py"),
    ),
    Mutation(
        4,
        "a file that somebody wrote to is passed over",
        f"{STORAGE}looking.py",
        "        same = found.st_mtime_ns == mtime_ns and found.st_size == size\n",
        "        same = found.st_size == size\n",
        (f"{SYNC}test_local_drift_is_found_by_stat_and_repaired", "engine/test_scan.py"),
    ),
    Mutation(
        4,
        "the row is written before its file",
        f"{ENGINE}commit.py",
        "            self._publish(group, staged)\n",
        "            early = [outcomes.synced_row(result, None, group.now) for result in staged]\n"
        "            rows = {row.key: row for row in early}\n"
        "            self._recorder.record(Group(group.now, {}, rows))\n"
        "            self._publish(group, staged)\n",
        ("engine/test_commit.py::test_no_row_tells_of_a_file_that_is_not_there",),
    ),
    Mutation(
        4,
        "a file whose folder could not be flushed is nobody's",
        f"{ENGINE}commit.py",
        "        self._claim(group, [result for result, _ in failed])\n",
        "",
        ("engine/test_commit.py::test_a_placed_file_whose_folder_is_not_flushed_stays_ours",),
    ),
    Mutation(
        3,
        "a mark ends by a listing that S3 refutes",
        f"{ENGINE}reconcile.py",
        "            return RunStatus.PARTIAL\n        self._drop_void_marks()\n",
        "        self._drop_void_marks()\n",
        ("engine/test_older_listings.py::test_a_mark_outlives_a_listing_that_s3_refutes",),
    ),
    Mutation(
        4,
        "nobody looks for files that were not recorded",
        f"{ENGINE}runner.py",
        "        recover(self._mirror, self._ledger)\n",
        "",
        ("engine/model/test_scripts.py",),
    ),
    Mutation(
        4,
        "a file that was not recorded passes for the version of its row",
        f"{ENGINE}recovery.py",
        "            if row.etag == note.etag or held != file:\n",
        "            if True:\n",
        (
            "engine/model/test_scripts.py::"
            "test_a_file_placed_right_before_a_kill_whose_object_is_then_put_back",
        ),
    ),
    Mutation(
        4,
        "two directories share one ledger",
        f"{STORAGE}ledger/claim.py",
        "                elif _has_rows(connection):\n",
        "                elif False:\n",
        ("unit/test_composition.py::test_two_directories_never_share_one_ledger",),
    ),
    Mutation(
        4,
        "a 304 counts although the file was changed here",
        f"{ENGINE}fetch.py",
        "        etag = row.etag if row is not None and self.task.intact else None\n",
        "        etag = row.etag if row is not None else None\n",
        (f"{SYNC}test_local_drift_is_found_by_stat_and_repaired",),
    ),
    Mutation(
        4,
        "a key is decoded twice",
        "services/events/inbox.py",
        'unquote_to_bytes(raw_key.replace("+", " "))',
        'unquote_to_bytes(unquote_to_bytes(raw_key.replace("+", " ")))',
        ("unit/test_inbox.py",),
    ),
)

ONE_BAD_KEY = (
    Mutation(
        6,
        "a run with failed keys is a success",
        f"{ENGINE}reconcile.py",
        "        return RunStatus.PARTIAL if self._tally.counts.failed else RunStatus.SUCCESS\n",
        "        return RunStatus.SUCCESS\n",
        (f"{SYNC}test_a_lasting_mismatch_keeps_the_old_file_and_fails_the_key_alone",),
    ),
    Mutation(
        6,
        "one refusal of the disk ends the whole batch",
        f"{STORAGE}publishing.py",
        "self._place(item)\n        except MirrorError as error:\n" "            return error\n",
        "self._place(item)\n        except MirrorError:\n" "            raise\n",
        ("engine/mirror/test_publishing.py::test_one_bad_item_does_not_stop_its_neighbours",),
    ),
    Mutation(
        6,
        "a listed key that cannot be one is dropped silently",
        f"{ENGINE}scan.py",
        "                yield [item for item in page if item.problem is not None]\n",
        "                pass\n",
        (f"{SYNC}test_illegal_keys_are_rejected_by_name_once",),
    ),
)

COST = (
    Mutation(
        7,
        "an event asks for the body of an unchanged object",
        f"{ENGINE}fetch.py",
        "        etag = row.etag if row is not None and self.task.intact else None\n",
        "        etag = None\n",
        (f"{SERVICE}test_an_event_brings_the_object_and_a_second_one_asks_for_no_body",),
    ),
    Mutation(
        7,
        "unchanged keys are proved again",
        f"{ENGINE}planner.py",
        "        if _current(listed, row):\n            return None\n",
        "        if _current(listed, row):\n"
        '            return Action(Operation.ADOPT, row.key, "again", listed, row)\n',
        ("unit/test_planner.py::test_what_one_key_needs",),
    ),
    Mutation(
        7,
        "a row is made for every unchanged key",
        f"{ENGINE}scan.py",
        "            intact.update(compress(files, self.mirror.are_unchanged(files.values())))\n",
        "",
        ("engine/test_scan.py::test_for_unchanged_files_no_row_is_made",),
    ),
    Mutation(
        7,
        "every listed key is asked for",
        f"{ENGINE}scan.py",
        "        listed = len(page)\n",
        "        listed = len(page)\n"
        "        for one in page:\n            self.bucket.head(one.key)\n",
        (f"{SYNC}test_a_cold_bucket_arrives_whole_and_a_second_run_asks_for_nothing",),
    ),
)
